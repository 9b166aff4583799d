package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import org.junit.jupiter.api.Test;

final class InitializerTest {
    private static float[] normal(Kernels kernels, String name, long seed, long... dims) {
        try (Parameter parameter =
                new Parameter(name, ParameterGroup.VISION, kernels, DType.F32, dims)) {
            Initializer.normal(parameter, 0.02, seed);
            return parameter.value().toFloats();
        }
    }

    @Test
    void normalValues() {
        try (HostDevice device = HostDevice.open(1)) {
            Kernels kernels = Kernels.of(device);
            // More than one piece.
            float[] values = normal(kernels, "a", 1, 300, 1000);
            double sum = 0;
            double squares = 0;
            double fourth = 0;
            for (float value : values) {
                double z = value / 0.02;
                sum += z;
                squares += z * z;
                fourth += z * z * z * z;
            }
            assertThat(sum / values.length).isCloseTo(0, within(0.01));
            assertThat(squares / values.length).isCloseTo(1, within(0.01));
            assertThat(fourth / values.length).isCloseTo(3, within(0.06));
            assertThat(normal(kernels, "a", 1, 300, 1000)).isEqualTo(values);
            assertThat(normal(kernels, "b", 1, 10)[0]).isNotEqualTo(values[0]);
            assertThat(normal(kernels, "a", 2, 10)[0]).isNotEqualTo(values[0]);
            // A value depends on its index, not on the parameter's size.
            assertThat(normal(kernels, "a", 1, 3)).containsExactly(values[0], values[1], values[2]);
        }
    }

    @Test
    void constantsInEveryFloatType() {
        try (HostDevice device = HostDevice.open(1);
                Tape tape = Tape.inference(Kernels.of(device))) {
            for (DType dtype : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                try (Parameter parameter =
                        new Parameter("c", ParameterGroup.VISION, tape.kernels(), dtype, 3, 5)) {
                    Initializer.constant(parameter, 0.375f);
                    Tensor wide = tape.empty(DType.F32, 15);
                    if (dtype == DType.F32) {
                        wide = parameter.value();
                    } else {
                        tape.kernels()
                                .elementwise()
                                .cast(15, parameter.value().span(), wide.span());
                    }
                    assertThat(wide.toFloats()).containsOnly(0.375f);
                }
            }
        }
    }

    @Test
    void groupsAndParameters() {
        assertThat(ParameterGroup.VISION.label()).isEqualTo("vision");
        assertThat(ParameterGroup.CONNECTOR.label()).isEqualTo("connector");
        assertThat(ParameterGroup.LANGUAGE.label()).isEqualTo("language");
        try (HostDevice device = HostDevice.open(1)) {
            long before = device.memory().usedBytes();
            Kernels kernels = Kernels.of(device);
            try (Parameter parameter =
                    new Parameter("p", ParameterGroup.CONNECTOR, kernels, DType.F32, 2, 3)) {
                assertThat(parameter).hasToString("p [2, 3]");
                assertThat(parameter.group()).isEqualTo(ParameterGroup.CONNECTOR);
                assertThat(parameter.trainable()).isFalse();
                assertThat(parameter.decays()).isTrue();
                assertThat(parameter.withoutDecay().decays()).isFalse();
                parameter.zeroGradient();
                assertThat(parameter.hasGradient()).isFalse();
                parameter.trainable(true);
                assertThat(parameter.hasGradient()).isFalse();
                assertThat(parameter.gradient().toFloats()).containsOnly(0);
                assertThat(parameter.hasGradient()).isTrue();
            }
            try (Parameter vector =
                    new Parameter("v", ParameterGroup.VISION, kernels, DType.F32, 3)) {
                assertThat(vector.decays()).isFalse();
            }
            assertThat(device.memory().usedBytes()).isEqualTo(before);
        }
    }
}
