package dev.saccade.rl.advantage;

/// The advantage of GRPO (Shao et al., 2402.03300) as verl computes it.
///
/// With the rewards `r` of the responses to one prompt,
///
///     A_i = (r_i - mean(r)) / (std(r) + 1e-6)
///
/// where `std` is the unbiased one (divided by `n - 1`). Without the division it is the advantage
/// of Dr. GRPO (Liu et al., 2503.20783). A prompt with one response has nothing to compare with:
/// its reward is its advantage. Where all rewards are equal, every advantage is exactly 0.
public final class GroupAdvantage {
    private static final double EPSILON = 1e-6;

    private GroupAdvantage() {}

    /// The advantages of a batch.
    ///
    /// @param rewards prompt by prompt, the responses of a prompt one behind the other
    /// @param groupSize responses to each prompt
    /// @param normalizeByStd whether to divide by the group's standard deviation
    /// @return one advantage for each reward, to be used for every token of its response
    /// @throws IllegalArgumentException when the rewards are not whole groups or not finite
    public static double[] compute(double[] rewards, int groupSize, boolean normalizeByStd) {
        if (groupSize < 1 || rewards.length % groupSize != 0) {
            throw new IllegalArgumentException(
                    rewards.length + " rewards are not groups of " + groupSize);
        }
        double[] advantages = new double[rewards.length];
        for (int group = 0; group < rewards.length; group += groupSize) {
            computeGroup(rewards, group, groupSize, normalizeByStd, advantages);
        }
        return advantages;
    }

    private static void computeGroup(
            double[] rewards, int from, int size, boolean normalizeByStd, double[] advantages) {
        double sum = 0;
        boolean equal = true;
        for (int i = from; i < from + size; i++) {
            if (!Double.isFinite(rewards[i])) {
                throw new IllegalArgumentException("reward " + i + " is " + rewards[i]);
            }
            sum += rewards[i];
            equal &= rewards[i] == rewards[from];
        }
        if (size == 1) {
            advantages[from] = rewards[from];
            return;
        }
        // The rounding of the mean would be divided by 1e-6.
        if (equal) {
            return;
        }
        double mean = sum / size;
        double squares = 0;
        for (int i = from; i < from + size; i++) {
            double difference = rewards[i] - mean;
            squares += difference * difference;
        }
        double scale = normalizeByStd ? Math.sqrt(squares / (size - 1)) + EPSILON : 1;
        for (int i = from; i < from + size; i++) {
            advantages[i] = (rewards[i] - mean) / scale;
        }
    }
}
