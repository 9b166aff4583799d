package dev.saccade.model;

import dev.saccade.model.generate.Generator;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.ParameterGroup;
import java.util.EnumSet;
import java.util.Set;

/// The device memory that a model needs for something, by its configuration alone. Activations come
/// on top: they depend on the batch, and live as long as a step.
///
/// @param weights bytes of the parameters
/// @param gradients bytes of the trained parameters' gradients, in fp32
/// @param optimizer bytes of AdamW's state: two moments in fp32, and master weights in fp32 where
///   the parameters are narrower
/// @param cache bytes of keys and values during generation
public record MemoryNeeds(long weights, long gradients, long optimizer, long cache) {

    /// Everything together.
    public long total() {
        return weights + gradients + optimizer + cache;
    }

    /// To answer: the weights, and the keys and values of one sequence of the longest length.
    public static MemoryNeeds inference(VisionLanguageConfig config, ComputeType type) {
        return of(config, type, Set.of(), longestSequence(config, type));
    }

    /// To train all parts on given answers.
    public static MemoryNeeds supervised(VisionLanguageConfig config, ComputeType type) {
        return of(config, type, EnumSet.allOf(ParameterGroup.class), 0);
    }

    /// To train all parts on answers that the model samples: the keys and values of a wave of
    /// sequences, which is at least one of the longest length.
    public static MemoryNeeds reinforcement(VisionLanguageConfig config, ComputeType type) {
        return of(
                config,
                type,
                EnumSet.allOf(ParameterGroup.class),
                Math.max(Generator.DEFAULT_WAVE_BYTES, longestSequence(config, type)));
    }

    /// To train the connector alone on given answers.
    public static MemoryNeeds connectorOnly(VisionLanguageConfig config, ComputeType type) {
        return of(config, type, Set.of(ParameterGroup.CONNECTOR), 0);
    }

    private static long longestSequence(VisionLanguageConfig config, ComputeType type) {
        LanguageConfig text = config.text();
        return KvCache.bytesPerPage(text, type.dtype())
                * KvCache.pagesOf(text.maxPositionEmbeddings());
    }

    /// To train some parts.
    ///
    /// @param trained the parts whose parameters change
    /// @param cache bytes of keys and values
    public static MemoryNeeds of(
            VisionLanguageConfig config,
            ComputeType type,
            Set<ParameterGroup> trained,
            long cache) {
        long trainedElements = trained.stream().mapToLong(config::parameterCount).sum();
        int states = type == ComputeType.FLOAT32 ? 2 : 3;
        return new MemoryNeeds(
                config.parameterCount() * type.dtype().bytes(),
                trainedElements * Float.BYTES,
                trainedElements * states * Float.BYTES,
                cache);
    }
}
