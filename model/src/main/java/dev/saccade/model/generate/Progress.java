package dev.saccade.model.generate;

/// Is told how far generation has come, after every step.
@FunctionalInterface
public interface Progress {
    /// Tells nobody.
    Progress NONE = (_, _, _) -> {};

    /// Reports where generation stands.
    ///
    /// @param finished completions that have ended
    /// @param total completions asked for
    /// @param tokens tokens drawn so far
    void update(int finished, int total, long tokens);
}
