package dev.saccade.rl.rollout;

import dev.saccade.kernels.sampling.Philox;

/// What random numbers are for: the part of a key that keeps the uses of one seed apart. The
/// numbers are part of every result; they never change.
public enum Purpose {
    /// Sampling a training rollout.
    ROLLOUT(1),
    /// Sampling an answer in an evaluation.
    EVALUATION(2),
    /// The order in which a stage visits its rows.
    ORDER(3);

    private final int number;

    Purpose(int number) {
        this.number = number;
    }

    /// A key.
    ///
    /// @param seed the run's seed
    /// @param step the run's step, or the stage
    /// @param prompt which prompt
    /// @param sample which of its samples
    public long key(long seed, long step, long prompt, int sample) {
        return Philox.key(seed, number, step, prompt, sample);
    }
}
