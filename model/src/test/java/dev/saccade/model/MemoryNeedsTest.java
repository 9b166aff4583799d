package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import java.util.List;
import org.junit.jupiter.api.Test;

final class MemoryNeedsTest {
    /// The most by which a device's block is larger than what was asked for, at these sizes.
    private static final long ROUNDING = 1024;

    /// What is counted is what a model and its optimiser take. Besides, a model has tables of its
    /// positions and vocabulary, and blocks are rounded up.
    @Test
    void theCountIsWhatTheDeviceGives() {
        VisionLanguageConfig config = VisionLanguageConfig.tiny(136, 7);
        try (HostDevice device = HostDevice.open(1)) {
            Kernels kernels = Kernels.of(device);
            long before = device.memory().usedBytes();
            try (VisionLanguageModel model = VisionLanguageModel.initialize(config, kernels, 1)) {
                long loaded = device.memory().usedBytes();
                long weights = MemoryNeeds.connectorOnly(config, ComputeType.FLOAT32).weights();
                assertThat(loaded - before).isBetween(weights, weights + 500_000);
                for (boolean connectorOnly : new boolean[] {true, false}) {
                    for (Parameter parameter : model.parameters()) {
                        parameter.trainable(
                                !connectorOnly || parameter.group() == ParameterGroup.CONNECTOR);
                    }
                    MemoryNeeds needs =
                            connectorOnly
                                    ? MemoryNeeds.connectorOnly(config, ComputeType.FLOAT32)
                                    : MemoryNeeds.supervised(config, ComputeType.FLOAT32);
                    try (AdamW optimizer =
                            new AdamW(
                                    kernels,
                                    model.parameters(),
                                    new AdamW.Settings(0.9, 0.95, 1e-8, 0, 1))) {
                        assertThat(optimizer.steps()).isZero();
                        model.parameters().stream()
                                .filter(Parameter::trainable)
                                .forEach(Parameter::gradient);
                        long more = needs.gradients() + needs.optimizer();
                        assertThat(device.memory().usedBytes() - loaded)
                                .isBetween(more, more + 2 * ROUNDING * model.parameters().size());
                    }
                }
            }
        }
    }

    @Test
    void theLargeModelNeedsWhatIsKnownOfIt() {
        VisionConfig vision =
                new VisionConfig(
                        3200,
                        45,
                        25,
                        12800,
                        448,
                        14,
                        3,
                        NormType.RMS_NORM,
                        true,
                        false,
                        1e-6f,
                        0.1f);
        LanguageConfig text =
                new LanguageConfig(
                        151674, 5120, 27648, 64, 40, 8, 128, 1e-6f, 1e6, 32768, true, false);
        VisionLanguageConfig config =
                new VisionLanguageConfig(vision, text, 151667, 0.5, List.of());
        MemoryNeeds inference = MemoryNeeds.inference(config, ComputeType.BFLOAT16);
        assertThat(Math.round(inference.weights() / 1e7)).isEqualTo(7678);
        assertThat(inference.cache()).isEqualTo(262_144L * 32768);
        assertThat(inference.gradients() + inference.optimizer()).isZero();
        MemoryNeeds sft = MemoryNeeds.supervised(config, ComputeType.BFLOAT16);
        assertThat(sft.total()).isEqualTo(18 * config.parameterCount());
        assertThat(MemoryNeeds.reinforcement(config, ComputeType.BFLOAT16).total())
                .isEqualTo(sft.total() + inference.cache());
    }
}
