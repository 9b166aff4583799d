package dev.saccade.model.generate;

/// How completions are sampled.
///
/// @param temperature divides the logits; 0 takes the most probable token, whose log-probability
///   and entropy are then given at temperature 1
/// @param topK keep the k most probable tokens; 0 = all
/// @param topP keep the smallest set of most probable tokens whose mass reaches p; 1 = all
/// @param maxNewTokens the most tokens of a completion
/// @param stopTokens a completion ends with the first of these
public record SamplingOptions(
        float temperature, int topK, float topP, int maxNewTokens, int[] stopTokens) {

    /// @throws IllegalArgumentException when a number is out of its range
    public SamplingOptions {
        if (!(temperature >= 0) || topK < 0 || !(topP > 0 && topP <= 1) || maxNewTokens < 1) {
            throw new IllegalArgumentException(
                    "temperature %s, top-k %d, top-p %s, at most %d new tokens"
                            .formatted(temperature, topK, topP, maxNewTokens));
        }
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
