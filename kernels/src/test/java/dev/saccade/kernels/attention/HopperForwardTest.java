package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class HopperForwardTest {
    /// What a block may use.
    private static final int SHARED_BYTES = 232_448;

    private static @Nullable HopperForward choose(int heads, int kvHeads, int... lengths) {
        int[] cumulative = new int[lengths.length + 1];
        for (int s = 0; s < lengths.length; s++) {
            cumulative[s + 1] = cumulative[s] + lengths[s];
        }
        return HopperForward.choose(
                new Shape(heads, kvHeads, 128, true, 1f), Sequences.packed(cumulative));
    }

    @Test
    void sharedMemoryIsWhatABlockMayUse() {
        for (HopperForward kernel : HopperForward.values()) {
            for (int headDim : new int[] {64, 128}) {
                assertThat(HopperForward.supports(headDim)).isTrue();
                assertThat(kernel.sharedBytes(headDim)).isBetween(1, SHARED_BYTES);
                assertThat(kernel.sharedBytes(headDim) % Long.BYTES).isZero();
                assertThat(kernel.rows()).isLessThanOrEqualTo(256); // TMA's largest box
                assertThat(kernel.threads()).isEqualTo(2 * kernel.rows() + 128);
                assertThat(kernel.keys(headDim) % 32).isZero(); // whole blocks
            }
        }
        assertThat(HopperForward.SIMPLE.sharedBytes(128)).isEqualTo(196_752);
        assertThat(HopperForward.SIMPLE.sharedBytes(64)).isEqualTo(180_432);
        assertThat(HopperForward.supports(80)).isFalse();
    }

    @Test
    void fewQueriesOfAGroupStayTogether() {
        assertThat(choose(40, 8, 1, 1, 1, 1)).isNull();
        assertThat(choose(40, 8, 4096, 1)).isNotNull();
        assertThat(choose(8, 8, 1)).isNotNull();
    }

    @Test
    void aKernelCanBeAskedFor() {
        Shape shape = new Shape(2, 2, 128, true, 1f);
        Sequences sequences = Sequences.packed(new int[] {0, 1});
        assertThat(HopperAttention.choice("portable").kernel(shape, sequences)).isNull();
        for (HopperForward kernel : HopperForward.values()) {
            assertThat(HopperAttention.choice(kernel.suffix()).kernel(shape, sequences))
                    .isEqualTo(kernel);
        }
        assertThatThrownBy(() -> HopperAttention.choice("fast"))
                .hasMessage("-Dsaccade.attention=fast, expected portable, simple or overlapped");
    }
}
