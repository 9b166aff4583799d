package dev.saccade.rl.cli;

import dev.saccade.model.LoadProgress;
import java.util.Locale;

/// Shows on standard error how far a checkpoint's reading or writing is. Small checkpoints, which
/// take no time, are not shown.
final class ByteProgress implements LoadProgress {
    private static final long SHOWN_BYTES = 200_000_000;
    private static final long MEGABYTE = 1_000_000;

    private final String task;
    private final ProgressDisplay display = ProgressDisplay.onStandardError();
    private final long startNanos = System.nanoTime();

    /// @param task what is done, one word
    ByteProgress(String task) {
        this.task = task;
    }

    @Override
    public void loaded(long doneBytes, long totalBytes) {
        if (totalBytes < SHOWN_BYTES) {
            return;
        }
        double seconds = (System.nanoTime() - startNanos) / 1e9;
        display.update(
                task,
                doneBytes / MEGABYTE,
                totalBytes / MEGABYTE,
                Double.NaN,
                String.format(Locale.ROOT, "MB; %.2f GB/s", doneBytes / 1e9 / seconds));
    }
}
