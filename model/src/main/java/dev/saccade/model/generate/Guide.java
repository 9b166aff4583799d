package dev.saccade.model.generate;

/// Follows one completion while it grows, token by token, and decides how it goes on: to show it as
/// it comes, to end it at a text, to put in tokens that were not drawn.
@FunctionalInterface
public interface Guide {

    /// How a completion goes on.
    sealed interface Next permits Choice, Force {}

    /// The ways to go on without a token of one's own.
    enum Choice implements Next {
        /// The next token is drawn.
        DRAW,
        /// The completion ends.
        STOP
    }

    /// The next token is this one, whatever would have been drawn. Its log-probability and entropy
    /// are those that the model gives it.
    record Force(int token) implements Next {}

    /// Before the first token. It can't be [Choice#STOP].
    default Next begin() {
        return Choice.DRAW;
    }

    /// After each token, the one at which the completion stops included.
    Next follow(int token);
}
