package dev.saccade.model;

/// What `rope_scaling` in config.json does to the base of the rotary position embedding.
///
/// InternVL3's files ask for `dynamic` with factor 2. Released engines read that in two ways, which
/// differ in every logit; a checkpoint that was trained or judged under one of them keeps to it.
public sealed interface RopeScaling {

    /// The base for a sequence.
    ///
    /// @param theta the configured base
    /// @param headDim elements of a head, d
    /// @param trained max_position_embeddings, M
    /// @param length the sequence's tokens, L
    double base(double theta, int headDim, int trained, int length);

    /// The configured base, always.
    record None() implements RopeScaling {
        @Override
        public double base(double theta, int headDim, int trained, int length) {
            return theta;
        }
    }

    /// `dynamic` as transformers reads it: the configured base up to M tokens, beyond it `theta *
    /// (f L / M - (f - 1))^(d / (d - 2))`.
    ///
    /// @param factor f, at least 1
    record Dynamic(double factor) implements RopeScaling {
        /// @throws IllegalArgumentException when the factor is below 1
        public Dynamic {
            requireFactor(factor);
        }

        @Override
        public double base(double theta, int headDim, int trained, int length) {
            return length <= trained
                    ? theta
                    : grown(theta, headDim, factor * length / trained - (factor - 1));
        }
    }

    /// `dynamic` as vLLM read it until 2026: the base that the rule above gives for `f M` tokens,
    /// `theta * (f f - (f - 1))^(d / (d - 2))`, for sequences of any length. In config.json it is
    /// `"constant_base": true` beside the factor, a key of Saccade's own.
    ///
    /// @param factor f, at least 1
    record ConstantBase(double factor) implements RopeScaling {
        /// @throws IllegalArgumentException when the factor is below 1
        public ConstantBase {
            requireFactor(factor);
        }

        @Override
        public double base(double theta, int headDim, int trained, int length) {
            return grown(theta, headDim, factor * factor - (factor - 1));
        }
    }

    private static double grown(double theta, int headDim, double ratio) {
        return theta * Math.pow(ratio, headDim / (headDim - 2.0));
    }

    private static void requireFactor(double factor) {
        if (!(factor >= 1 && factor < 1e6)) {
            throw new IllegalArgumentException(
                    "rope_scaling.factor is %s, not between 1 and a million".formatted(factor));
        }
    }
}
