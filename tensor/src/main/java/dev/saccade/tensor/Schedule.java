package dev.saccade.tensor;

/// The learning rate over the steps of a stage. Both rise linearly over the first `warmup` steps,
/// `lr * (step + 1) / warmup`, so that the first step already learns and step `warmup - 1` has the
/// full rate.
public sealed interface Schedule {

    /// The learning rate of a step.
    ///
    /// @param step counted from 0
    double at(long step);

    /// The same rate after the warm-up.
    ///
    /// @param lr the full learning rate
    /// @param warmup steps of the warm-up, 0 for none
    record Constant(double lr, long warmup) implements Schedule {
        @Override
        public double at(long step) {
            return step < warmup ? lr * (step + 1) / warmup : lr;
        }
    }

    /// Half a cosine after the warm-up, from `lr` at step `warmup` down to `minRatio * lr` at step
    /// `total`, and flat from there.
    ///
    /// @param lr the full learning rate
    /// @param warmup steps of the warm-up, 0 for none
    /// @param total the step at which the lowest rate is reached
    /// @param minRatio the lowest rate as a share of `lr`
    record Cosine(double lr, long warmup, long total, double minRatio) implements Schedule {
        @Override
        public double at(long step) {
            if (step < warmup) {
                return lr * (step + 1) / warmup;
            }
            double share =
                    step >= total ? 1 : (double) (step - warmup) / Math.max(1, total - warmup);
            double cosine = (1 + StrictMath.cos(StrictMath.PI * share)) / 2;
            return lr * (minRatio + (1 - minRatio) * cosine);
        }
    }
}
