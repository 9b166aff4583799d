package dev.saccade.tensor;

/// The learning rate over steps.
public sealed interface Schedule {
    /// The rate of a step, counted from 0.
    double at(long step);

    /// Linear warm-up over `warmup` steps, then constant.
    record Constant(double lr, long warmup) implements Schedule {
        @Override
        public double at(long step) {
            return step < warmup ? lr * (step + 1) / warmup : lr;
        }
    }

    /// Linear warm-up, then half a cosine down to `minRatio * lr` at step `total`.
    record Cosine(double lr, long warmup, long total, double minRatio) implements Schedule {
        @Override
        public double at(long step) {
            if (step < warmup) {
                return lr * (step + 1) / warmup;
            }
            double share = Math.min(1, (double) (step - warmup) / Math.max(1, total - warmup));
            double cosine = 0.5 * (1 + StrictMath.cos(Math.PI * share));
            return lr * (minRatio + (1 - minRatio) * cosine);
        }
    }
}
