package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.engine.Device;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
class FreezingTest {
    private static final VisionLanguageConfig CONFIG = SmallModels.config(NormType.RMS_NORM);

    private final Target target;

    FreezingTest(Target target) {
        this.target = target;
    }

    private record Result(float[] logProbs, Map<String, float[]> gradients, long tapeBytes) {}

    @ParameterizedTest
    @EnumSource
    void aPartTrainedAloneHasTheGradientsItHasInTheWhole(ParameterGroup group) {
        Result whole = backward(CONFIG, EnumSet.allOf(ParameterGroup.class));
        Result alone = backward(CONFIG, EnumSet.of(group));
        assertThat(alone.logProbs()).containsExactly(whole.logProbs());
        Set<String> expected = new HashSet<>();
        CONFIG.parameters().stream()
                .filter(p -> p.group() == group)
                .forEach(p -> expected.add(p.name()));
        assertThat(alone.gradients().keySet()).isEqualTo(expected);
        alone.gradients()
                .forEach((name, gradient) ->
                        assertThat(gradient).as(name).containsExactly(whole.gradients().get(name)));
        assertThat(whole.gradients()).hasSize(CONFIG.parameters().size());
    }

    @Test
    void aFrozenVisionTowerKeepsNothingForItsBackwardPass() {
        Set<ParameterGroup> frozen = EnumSet.of(ParameterGroup.CONNECTOR, ParameterGroup.LANGUAGE);
        Set<ParameterGroup> all = EnumSet.allOf(ParameterGroup.class);
        VisionLanguageConfig deep = withVisionLayers(6);
        assertThat(backward(deep, frozen).tapeBytes())
                .isEqualTo(backward(CONFIG, frozen).tapeBytes());
        assertThat(backward(deep, all).tapeBytes())
                .isGreaterThan(backward(CONFIG, all).tapeBytes());
    }

    private static VisionLanguageConfig withVisionLayers(int layers) {
        VisionConfig v = CONFIG.vision();
        VisionConfig vision =
                new VisionConfig(
                        v.hiddenSize(),
                        layers,
                        v.numAttentionHeads(),
                        v.intermediateSize(),
                        v.imageSize(),
                        v.patchSize(),
                        v.numChannels(),
                        v.normType(),
                        v.useQkNorm(),
                        v.attentionBias(),
                        v.layerNormEps(),
                        v.layerScaleInitValue());
        return new VisionLanguageConfig(
                vision,
                CONFIG.text(),
                CONFIG.imageTokenId(),
                CONFIG.downsampleRatio(),
                CONFIG.suppressTokens());
    }

    private Result backward(VisionLanguageConfig config, Set<ParameterGroup> trainable) {
        Random random = new Random(5);
        List<Prompt> prompts =
                List.of(
                        SmallModels.prompt(config, 4, 2, random),
                        SmallModels.prompt(config, 5, 1, random));
        List<int[]> completions =
                List.of(
                        SmallModels.completion(config, 6, random),
                        SmallModels.completion(config, 3, random));
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(config, Kernels.of(buffers.device()), target, 6)) {
            Device device = buffers.device();
            for (Parameter parameter : model.parameters()) {
                parameter.trainable(trainable.contains(parameter.group()));
            }
            long before = device.memory().usedBytes();
            try (Tape tape = Tape.recording(model.kernels())) {
                Tape.LogProbs logProbs =
                        model.logProbs(tape, TrainingBatch.pack(config, prompts, completions), 1);
                long bytes = device.memory().usedBytes() - before;
                float[] seed = {1, -2, 0.5f, 3, 1, 1, -1, 2, 0.25f};
                tape.backward(logProbs.logProb(), tape.upload(seed, seed.length));
                Map<String, float[]> gradients = new HashMap<>();
                for (Parameter parameter : model.parameters()) {
                    if (parameter.hasGradient()) {
                        gradients.put(parameter.name(), parameter.gradient().toFloats());
                    }
                }
                return new Result(logProbs.logProb().toFloats(), gradients, bytes);
            }
        }
    }
}
