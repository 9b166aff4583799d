package dev.saccade.model.generate;

import dev.saccade.kernels.sampling.Sampling;

/// How completions are sampled. The filters come in the order of transformers: repetition penalty,
/// temperature, top-k, top-p, min-p; see [Sampling]. None of them, nor `bannedTokens`, changes the
/// log-probabilities, entropies and masses that a completion reports: they are the model's.
///
/// @param temperature divides the logits; 0 takes the most probable token, whose log-probability
///   and entropy are then given at temperature 1
/// @param topK keep the k most probable tokens; 0 = all
/// @param topP keep the smallest set of most probable tokens whose mass reaches p; 1 = all
/// @param minP keep the tokens at least p times as probable as the most probable one; 0 = all
/// @param repetitionPenalty makes tokens less likely that the prompt or the completion has already,
///   above 1; 1 = none. It acts at temperature 0 too
/// @param maxNewTokens the most tokens of a completion
/// @param stopTokens a completion ends with the first of these
/// @param bannedTokens are not drawn, besides those that the model never generates
/// @param watchedTokens the probability of drawing one of these is kept at each token of a
///   completion; empty = it is not computed. They change nothing else
public record SamplingOptions(
        float temperature,
        int topK,
        float topP,
        float minP,
        float repetitionPenalty,
        int maxNewTokens,
        int[] stopTokens,
        int[] bannedTokens,
        int[] watchedTokens) {

    /// @throws IllegalArgumentException when a number is out of its range
    public SamplingOptions {
        if (!(temperature >= 0)
                || topK < 0
                || !(topP > 0 && topP <= 1)
                || !(minP >= 0 && minP <= 1)
                || !(repetitionPenalty > 0 && repetitionPenalty < Float.POSITIVE_INFINITY)
                || maxNewTokens < 1) {
            throw new IllegalArgumentException(
                    ("temperature %s, top-k %d, top-p %s, min-p %s, repetition penalty %s, at most"
                                    + " %d new tokens")
                            .formatted(
                                    temperature,
                                    topK,
                                    topP,
                                    minP,
                                    repetitionPenalty,
                                    maxNewTokens));
        }
    }

    /// Options that watch no tokens.
    public SamplingOptions(
            float temperature,
            int topK,
            float topP,
            float minP,
            float repetitionPenalty,
            int maxNewTokens,
            int[] stopTokens,
            int[] bannedTokens) {
        this(
                temperature,
                topK,
                topP,
                minP,
                repetitionPenalty,
                maxNewTokens,
                stopTokens,
                bannedTokens,
                new int[0]);
    }

    /// Options without min-p, penalty and bans.
    public SamplingOptions(
            float temperature, int topK, float topP, int maxNewTokens, int[] stopTokens) {
        this(temperature, topK, topP, 0, 1, maxNewTokens, stopTokens, new int[0]);
    }

    /// These options, with the mass of some tokens kept.
    public SamplingOptions watching(int[] tokens) {
        return new SamplingOptions(
                temperature,
                topK,
                topP,
                minP,
                repetitionPenalty,
                maxNewTokens,
                stopTokens,
                bannedTokens,
                tokens.clone());
    }

    /// Whether what a sequence has already changes what is drawn.
    boolean penalises() {
        return repetitionPenalty != 1;
    }

    Sampling.Options filters() {
        return new Sampling.Options(temperature, topK, topP, minP);
    }

    boolean stops(int token) {
        for (int stop : stopTokens) {
            if (stop == token) {
                return true;
            }
        }
        return false;
    }
}
