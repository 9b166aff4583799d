package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class HopperBackwardTest {
    /// What a block may use.
    private static final int SHARED_BYTES = 232_448;

    @Test
    void sharedMemoryIsWhatABlockMayUse() {
        assertThat(HopperBackward.sharedBytes(128)).isEqualTo(231_608);
        assertThat(HopperBackward.sharedBytes(64)).isEqualTo(167_144);
        for (int headDim : new int[] {64, 128}) {
            assertThat(HopperBackward.sharedBytes(headDim)).isLessThanOrEqualTo(SHARED_BYTES);
        }
    }

    @Test
    void kernelsAreThoseOfTheForwardPass() {
        HopperForward kernel = HopperForward.SIMPLE;
        assertThat(HopperBackward.keysKernel(kernel, 64)).isEqualTo("keys_backward_64_simple");
        assertThat(HopperBackward.keysKernel(kernel, 128)).isEqualTo("keys_backward_128");
        assertThat(HopperBackward.queriesKernel(kernel, 128))
                .isEqualTo("queries_backward_128_simple");
    }
}
