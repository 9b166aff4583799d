package dev.saccade.model;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Target;
import dev.saccade.model.image.Pixels;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.List;
import java.util.Objects;
import java.util.Random;

/// Models small enough for loops in double precision, in both vision variants, with odd sizes.
public final class SmallModels {
    /// The image token of [#config].
    public static final int IMAGE_TOKEN = 5;

    private SmallModels() {}

    /// A model with every part of `variant`'s vision tower: 8x8 pixels, 16 patches, 4 visual
    /// tokens.
    public static VisionLanguageConfig config(NormType variant) {
        boolean layerNorm = variant == NormType.LAYER_NORM;
        VisionConfig vision =
                new VisionConfig(
                        15, 2, 3, 22, 8, 2, 3, variant, !layerNorm, layerNorm, 1e-6f, 0.5f);
        LanguageConfig text =
                new LanguageConfig(23, 19, 21, 2, 6, 2, 10, 1e-6f, 1e4, 256, layerNorm, false)
                        .withRopeScaling(
                                layerNorm
                                        ? new RopeScaling.Dynamic(2)
                                        : new RopeScaling.ConstantBase(3));
        return new VisionLanguageConfig(vision, text, IMAGE_TOKEN, 0.5, List.of(7));
    }

    /// The type that a target computes in.
    public static ComputeType type(Target target) {
        return target.dtype() == DType.BF16 ? ComputeType.BFLOAT16 : ComputeType.FLOAT32;
    }

    /// A model whose biases, norms and scales are random too, unlike a freshly initialised one's.
    public static VisionLanguageModel random(
            VisionLanguageConfig config, Kernels kernels, Target target, long seed) {
        VisionLanguageModel model =
                VisionLanguageModel.initialize(config, kernels, type(target), seed);
        Random random = new Random(seed);
        for (ParameterSpecification specification : config.parameters()) {
            if (specification.initial() instanceof ParameterSpecification.Initial.Constant start) {
                float[] values = new float[(int) specification.shape().elements()];
                for (int i = 0; i < values.length; i++) {
                    values[i] = start.value() + 0.2f * (float) random.nextGaussian();
                }
                Parameter parameter =
                        Objects.requireNonNull(model.parametersByName().get(specification.name()));
                try (Tape tape = Tape.inference(kernels)) {
                    Tensor rounded = tape.upload(target.dtype(), values, parameter.shape().dims());
                    parameter.value().copyFrom(rounded);
                }
            }
        }
        return model;
    }

    /// A prompt of `length` text tokens with `tiles` tiles of noise in their middle.
    public static Prompt prompt(VisionLanguageConfig config, int length, int tiles, Random random) {
        int visual = tiles * config.tokensPerTile();
        int[] tokens = new int[length + visual];
        for (int i = 0; i < tokens.length; i++) {
            boolean image = i >= length / 2 && i < length / 2 + visual;
            tokens[i] = image ? config.imageTokenId() : textToken(config, random);
        }
        VisionConfig vision = config.vision();
        float[] values =
                new float[tiles * vision.numChannels() * vision.imageSize() * vision.imageSize()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return new Prompt(tokens, tiles == 0 ? null : new Pixels(values, tiles));
    }

    /// `length` tokens that may be generated.
    public static int[] completion(VisionLanguageConfig config, int length, Random random) {
        int[] tokens = new int[length];
        for (int i = 0; i < length; i++) {
            tokens[i] = textToken(config, random);
        }
        return tokens;
    }

    private static int textToken(VisionLanguageConfig config, Random random) {
        while (true) {
            int token = random.nextInt(config.text().vocabSize());
            if (token != config.imageTokenId() && !config.suppressTokens().contains(token)) {
                return token;
            }
        }
    }
}
