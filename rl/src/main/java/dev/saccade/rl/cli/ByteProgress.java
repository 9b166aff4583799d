package dev.saccade.rl.cli;

import dev.saccade.model.LoadProgress;
import java.util.Locale;

/// Shows on standard error how far a checkpoint's reading or writing is. Small checkpoints, which
/// take no time, are not shown.
final class ByteProgress implements LoadProgress {
    private static final long SHOWN_BYTES = 200_000_000;
    private static final long MEGABYTE = 1_000_000;

    private final String task;
    private final ProgressDisplay display;
    private long startNanos;

    /// @param task what is done, one word
    ByteProgress(String task, ProgressDisplay display) {
        this.task = task;
        this.display = display;
    }

    ByteProgress(String task) {
        this(task, ProgressDisplay.onStandardError());
    }

    @Override
    public void loaded(long doneBytes, long totalBytes) {
        if (totalBytes < SHOWN_BYTES) {
            return;
        }
        if (startNanos == 0) {
            // The first tensor's own time is not known; its bytes are few.
            startNanos = System.nanoTime();
            return;
        }
        double seconds = (System.nanoTime() - startNanos) / 1e9;
        display.update(
                task,
                doneBytes / MEGABYTE,
                totalBytes / MEGABYTE,
                Double.NaN,
                String.format(Locale.ROOT, "in MB, %.2f GB/s", doneBytes / 1e9 / seconds));
    }
}
