package dev.saccade.rl.reward;

/// Decides whether an answer is the right one. Both sides are read the same way, LaTeX or plain:
///
/// - Numbers are compared as exact fractions: `0.50`, `1/2`, `\frac12` and `50\%` are equal, and so
///   are `1,234`, `1\,234` and `1234`, or `2\frac12`, `2 1/2` and `2.5`. A unit may be missing on
///   one side (`5` is `5 cm`), but two units have to agree. A percent sign may be missing as well
///   (`50` is `50%`).
/// - Choices are compared by their letter: `A`, `(A)`, `"A"`, `A. the first`.
/// - `{..}` is compared without order, `(..)` and `[..]` with their brackets and in order, a list
///   without brackets in order unless the other side is a set.
/// - Everything else is text, compared without regard to case, to blanks and to a final full stop.
///
/// No input throws.
public final class AnswerMatcher {
    private AnswerMatcher() {}

    /// Whether an answer is right.
    ///
    /// @param predicted what was answered, without `\boxed`
    /// @param groundTruth the right answer, with or without `\boxed`
    public static boolean matches(String predicted, String groundTruth) {
        Answer answer = Answer.parse(predicted);
        boolean empty = answer instanceof Answer.Text text && text.text().isEmpty();
        return !empty && answer.matches(Answer.parse(groundTruth));
    }
}
