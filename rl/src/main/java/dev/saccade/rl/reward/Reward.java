package dev.saccade.rl.reward;

/// Scores responses.
///
/// A reward is a function: the same sample gives the same score. It may be slow and it may throw;
/// [RewardRunner] sees to it that neither stops a run. Several threads call it at a time.
public interface Reward {
    /// The score of a response.
    Score score(Sample sample);

    /// What it is called in messages.
    String name();
}
