package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.engine.Device;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.activation.Activation;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.connector.PixelUnshuffle;
import dev.saccade.kernels.connector.UnshuffleNorm;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.kernels.embedding.Embedding;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.head.Head;
import dev.saccade.kernels.norm.Norm;
import dev.saccade.kernels.patch.Patch;
import dev.saccade.kernels.position.Rope;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.reflect.Proxy;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
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

    /// A layer of a frozen decoder keeps neither the two normed inputs of its products nor that of
    /// the last one: only weight gradients would read them.
    @Test
    void aFrozenDecoderKeepsNothingForWeightGradients() {
        Set<ParameterGroup> alone = EnumSet.of(ParameterGroup.CONNECTOR);
        Set<ParameterGroup> both = EnumSet.of(ParameterGroup.CONNECTOR, ParameterGroup.LANGUAGE);
        LanguageConfig text = CONFIG.text();
        int more = 4;
        VisionLanguageConfig deep = withLanguageLayers(text.numHiddenLayers() + more);
        long frozen = backward(deep, alone).tapeBytes() - backward(CONFIG, alone).tapeBytes();
        long trained = backward(deep, both).tapeBytes() - backward(CONFIG, both).tapeBytes();
        long elements = (long) rows() * (2 * text.hiddenSize() + text.intermediateSize());
        assertThat(trained - frozen)
                .isGreaterThanOrEqualTo(more * elements * target.dtype().bytes());
    }

    private static int rows() {
        Random random = new Random(5);
        return batch(CONFIG, random).batch().rows();
    }

    private static VisionLanguageConfig withLanguageLayers(int layers) {
        LanguageConfig t = CONFIG.text();
        LanguageConfig text =
                new LanguageConfig(
                                t.vocabSize(),
                                t.hiddenSize(),
                                t.intermediateSize(),
                                layers,
                                t.numAttentionHeads(),
                                t.numKeyValueHeads(),
                                t.headDim(),
                                t.rmsNormEps(),
                                t.ropeTheta(),
                                t.maxPositionEmbeddings(),
                                t.attentionBias(),
                                t.tieWordEmbeddings())
                        .withRopeScaling(t.ropeScaling());
        return new VisionLanguageConfig(
                CONFIG.vision(),
                text,
                CONFIG.imageTokenId(),
                CONFIG.downsampleRatio(),
                CONFIG.suppressTokens());
    }

    /// What the backward pass runs when the connector trains alone: of the vision tower nothing, of
    /// the decoder what hands the gradient on to the visual tokens, of the connector everything but
    /// the gradient of its input.
    @Test
    void theConnectorAloneComputesNoOtherGradient() {
        Map<String, Integer> calls = new TreeMap<>();
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(
                                CONFIG, counted(Kernels.of(buffers.device()), calls), target, 6)) {
            for (Parameter parameter : model.parameters()) {
                parameter.trainable(parameter.group() == ParameterGroup.CONNECTOR);
            }
            try (Tape tape = Tape.recording(model.kernels())) {
                Tape.LogProbs logProbs = model.logProbs(tape, batch(CONFIG, new Random(5)), 1);
                float[] seed = {1, -2, 0.5f, 3, 1, 1, -1, 2, 0.25f};
                Tensor gradient = tape.upload(seed, seed.length);
                calls.clear();
                tape.backward(logProbs.logProb(), gradient);
            }
        }
        int layers = CONFIG.text().numHiddenLayers();
        calls.keySet().removeIf(name -> name.startsWith("Elementwise.") && !name.endsWith("Rows"));
        assertThat(calls)
                .containsExactlyInAnyOrderEntriesOf(
                        Map.ofEntries(
                                // The logits again; from them back to the hidden states.
                                Map.entry("Head.backward", 1),
                                Map.entry("Gemm.multiply NN", 7 * layers + 2),
                                Map.entry("Gemm.multiply TN", 2),
                                Map.entry("Norm.rmsNormBackward", 1 + 2 * layers),
                                Map.entry("Attention.backward", layers),
                                Map.entry("Rope.rotateBackward", 2 * layers),
                                Map.entry("Activation.swiGluBackward", layers),
                                // The rows that predict, and the visual tokens' rows.
                                Map.entry("Embedding.scatterAdd", 2),
                                Map.entry("Embedding.gather", 1),
                                Map.entry("UnshuffleNorm.backward with parameters", 1),
                                Map.entry("Elementwise.sumRows", 2)));
    }

    /// The same operations, each of whose calls is counted under its name; products also by their
    /// layout, the norms' backward passes by whether they compute their parameters' gradients.
    private static Kernels counted(Kernels all, Map<String, Integer> calls) {
        return new Kernels(
                all.device(),
                counted(Gemm.class, all.gemm(), calls),
                counted(Attention.class, all.attention(), calls),
                all.prefixedAttention(),
                counted(Norm.class, all.norm(), calls),
                counted(Activation.class, all.activation(), calls),
                counted(Rope.class, all.rope(), calls),
                counted(Embedding.class, all.embedding(), calls),
                counted(Patch.class, all.patch(), calls),
                counted(PixelUnshuffle.class, all.pixelUnshuffle(), calls),
                counted(UnshuffleNorm.class, all.unshuffleNorm(), calls),
                counted(Entropy.class, all.entropy(), calls),
                counted(Head.class, all.head(), calls),
                all.sampling(),
                all.policyLoss(),
                all.optimizer(),
                counted(Elementwise.class, all.elementwise(), calls),
                all.advance());
    }

    private static <T> T counted(Class<T> contract, T operation, Map<String, Integer> calls) {
        return contract.cast(
                Proxy.newProxyInstance(
                        contract.getClassLoader(),
                        new Class<?>[] {contract},
                        (_, method, arguments) -> {
                            String name = contract.getSimpleName() + "." + method.getName();
                            if (arguments[0] instanceof Gemm.Shape shape) {
                                name += " " + shape.layout();
                            }
                            boolean norm = name.matches(".*Norm.*[bB]ackward");
                            if (norm && arguments[arguments.length - 1] != null) {
                                name += " with parameters";
                            }
                            calls.merge(name, 1, Integer::sum);
                            return method.invoke(operation, arguments);
                        }));
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

    private static TrainingBatch batch(VisionLanguageConfig config, Random random) {
        List<Prompt> prompts =
                List.of(
                        SmallModels.prompt(config, 4, 2, random),
                        SmallModels.prompt(config, 5, 1, random));
        List<int[]> completions =
                List.of(
                        SmallModels.completion(config, 6, random),
                        SmallModels.completion(config, 3, random));
        return TrainingBatch.pack(config, prompts, completions);
    }

    private Result backward(VisionLanguageConfig config, Set<ParameterGroup> trainable) {
        TrainingBatch batch = batch(config, new Random(5));
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(config, Kernels.of(buffers.device()), target, 6)) {
            Device device = buffers.device();
            for (Parameter parameter : model.parameters()) {
                parameter.trainable(trainable.contains(parameter.group()));
            }
            long before = device.memory().usedBytes();
            try (Tape tape = Tape.recording(model.kernels())) {
                Tape.LogProbs logProbs = model.logProbs(tape, batch, 1);
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
