package dev.saccade.model.generate;

/// What was sampled for a request.
///
/// @param tokens the drawn tokens, the stop token included
/// @param logProbs each token's log-probability when it was drawn, over all tokens that are not
///   banned (top-k and top-p do not change it)
/// @param entropies the entropy in nats of the distribution that each token was drawn from, over
///   all tokens that are not banned
/// @param reason why it ended
public record Completion(int[] tokens, float[] logProbs, float[] entropies, FinishReason reason) {}
