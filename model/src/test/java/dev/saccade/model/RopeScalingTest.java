package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

final class RopeScalingTest {

    @Test
    void dynamicGrowsBeyondTheTrainedLengthOnly() {
        RopeScaling dynamic = new RopeScaling.Dynamic(2);
        assertThat(dynamic.base(1e6, 128, 32768, 1)).isEqualTo(1e6);
        assertThat(dynamic.base(1e6, 128, 32768, 32768)).isEqualTo(1e6);
        assertThat(dynamic.base(1e6, 128, 32768, 65536))
                .isCloseTo(1e6 * Math.pow(3, 128 / 126.0), within(1e-3));
    }

    /// The number that InternVL3's 128-wide heads get from engines that read it so.
    @Test
    void theConstantBaseIsTheSameForEveryLength() {
        RopeScaling constant = new RopeScaling.ConstantBase(2);
        assertThat(Math.round(constant.base(1e6, 128, 32768, 1))).isEqualTo(3_052_774);
        assertThat(constant.base(1e6, 128, 32768, 1)).isEqualTo(constant.base(1e6, 128, 1, 99));
    }

    @Test
    void impossibleFactorsAreRefused() {
        for (double factor : new double[] {0.5, Double.NaN, Double.POSITIVE_INFINITY}) {
            assertThatThrownBy(() -> new RopeScaling.Dynamic(factor))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
