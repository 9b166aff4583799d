package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class HopperBackwardTest {
    /// What a block may use.
    private static final int SHARED_BYTES = 232_448;

    @Test
    void sharedMemoryIsWhatABlockMayUse() {
        assertThat(HopperBackward.sharedBytes()).isEqualTo(167_144);
        assertThat(OrderedBackward.sharedBytes())
                .isEqualTo(231_152)
                .isLessThanOrEqualTo(SHARED_BYTES);
    }
}
