package dev.saccade.model.generate;

/// What was sampled for a request.
///
/// @param tokens the tokens, the stop token and forced ones included
/// @param logProbs each token's log-probability at the sampling temperature, over all tokens that
///   the model may generate (filters, penalties and the options' bans do not change it)
/// @param entropies the entropy in nats of that distribution at each token
/// @param masses the probability in that distribution, at each token, of drawing one of the
///   options' [SamplingOptions#watchedTokens]; empty where none are watched
/// @param reason why it ended
public record Completion(
        int[] tokens, float[] logProbs, float[] entropies, float[] masses, FinishReason reason) {}
