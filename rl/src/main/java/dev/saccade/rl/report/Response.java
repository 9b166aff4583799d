package dev.saccade.rl.report;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// A response out of a run's rollouts.
///
/// @param step when it was sampled
/// @param stage the stage's name
/// @param dataSource its subject
/// @param prompt what was asked, as the model read it
/// @param image the picture's file relative to the run; null when there is none
/// @param response its text
/// @param groundTruth the right answer
/// @param score its reward
/// @param correct whether its answer was right
/// @param format whether it kept the format
/// @param tokens what was sampled
record Response(
        long step,
        String stage,
        String dataSource,
        String prompt,
        @Nullable String image,
        String response,
        String groundTruth,
        double score,
        boolean correct,
        boolean format,
        List<Token> tokens) {

    /// A sampled token.
    ///
    /// @param text how it is displayed
    /// @param entropy of the distribution it was sampled from, in nats
    /// @param logProb its log-probability
    /// @param critical whether it opens a turn of reasoning
    /// @param mass the probability that one was drawn that does; 0 where it is not known
    record Token(String text, double entropy, double logProb, boolean critical, double mass) {}

    boolean hasCritical() {
        return tokens.stream().anyMatch(Token::critical);
    }

    double meanEntropy() {
        return tokens.stream()
                .mapToDouble(Token::entropy)
                .filter(Double::isFinite)
                .average()
                .orElse(Double.NaN);
    }
}
