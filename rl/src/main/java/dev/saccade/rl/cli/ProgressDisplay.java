package dev.saccade.rl.cli;

import java.io.PrintStream;
import java.util.Locale;

/// Shows how far long work has come and how long it will take: a bar that redraws itself on a
/// terminal, a line now and then in a log.
final class ProgressDisplay {
    private static final int BAR = 24;
    private static final long REDRAW_NANOS = 100_000_000L;
    private static final long LOG_NANOS = 10_000_000_000L;

    private final PrintStream out;
    private final boolean terminal;
    private String task = "";
    private long startNanos;
    private long shownNanos;
    private long firstDone;
    private int shownWidth;

    ProgressDisplay(PrintStream out, boolean terminal) {
        this.out = out;
        this.terminal = terminal;
    }

    /// On standard error, which the launcher says is a terminal or not.
    static ProgressDisplay onStandardError() {
        return new ProgressDisplay(System.err, "1".equals(System.getenv("SACCADE_TERMINAL")));
    }

    /// Says that `done` of `total` steps of `name` are done; `detail` follows the time left.
    void update(String name, long done, long total, String detail) {
        long now = System.nanoTime();
        if (!name.equals(task)) {
            finish();
            task = name;
            startNanos = now;
            firstDone = done;
            shownNanos = now - LOG_NANOS;
        }
        boolean last = done >= total;
        long pause = terminal ? REDRAW_NANOS : LOG_NANOS;
        if (!last && now - shownNanos < pause) {
            return;
        }
        shownNanos = now;
        String left = last ? "done" : remaining(now, done, total);
        if (terminal) {
            int filled = total == 0 ? BAR : (int) (BAR * done / total);
            redraw(
                    "%-12s %s%s %d/%d  %s  %s"
                            .formatted(
                                    name,
                                    "█".repeat(filled),
                                    "░".repeat(BAR - filled),
                                    done,
                                    total,
                                    left,
                                    detail));
        } else {
            out.printf("%s %d/%d, %s, %s%n", name, done, total, left, detail);
        }
        if (last) {
            finish();
        }
    }

    /// A line of its own, above what is shown.
    void line(String text) {
        finish();
        out.println(text);
    }

    /// Ends the redrawn line, if there is one.
    void finish() {
        if (terminal && shownWidth > 0) {
            out.println();
            shownWidth = 0;
        }
        task = "";
    }

    private void redraw(String text) {
        String padded = text + " ".repeat(Math.max(0, shownWidth - text.length()));
        out.print("\r" + padded);
        out.flush();
        shownWidth = text.length();
    }

    private String remaining(long now, long done, long total) {
        long made = done - firstDone;
        if (made <= 0) {
            return "time left unknown";
        }
        double seconds = (now - startNanos) / 1e9 / made * (total - done);
        return duration(seconds) + " left";
    }

    /// `42 s`, `3 min 05 s`.
    static String duration(double seconds) {
        long whole = Math.round(seconds);
        return whole < 60
                ? whole + " s"
                : String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60);
    }
}
