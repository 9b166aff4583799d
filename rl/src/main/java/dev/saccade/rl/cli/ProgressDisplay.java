package dev.saccade.rl.cli;

import java.io.PrintStream;
import java.util.Locale;

/// Shows how far long work has come and how long it will take: a bar at the bottom that redraws
/// itself on a terminal, a line now and then in a log. Safe to call from several threads.
final class ProgressDisplay {
    private static final int BAR = 24;
    private static final long REDRAW_NANOS = 100_000_000L;
    private static final long LOG_NANOS = 10_000_000_000L;

    /// Back to the line's start, and cut what is wider than the terminal: a wrapped line could not
    /// be redrawn.
    private static final String BEGIN = "\r\u001b[?7l";

    /// Clear the rest of the line, and wrap again.
    private static final String END = "\u001b[K\u001b[?7h";

    private final PrintStream out;
    private final boolean terminal;
    private String task = "";
    private long startNanos;
    private long shownNanos;
    private long firstDone;
    private String shown = "";

    ProgressDisplay(PrintStream out, boolean terminal) {
        this.out = out;
        this.terminal = terminal;
    }

    /// On standard error, which the launcher says is a terminal or not.
    static ProgressDisplay onStandardError() {
        return new ProgressDisplay(System.err, "1".equals(System.getenv("SACCADE_TERMINAL")));
    }

    /// Says that `done` of `total` steps of `name` are done.
    ///
    /// @param wholeSeconds an estimate of the time left for everything, not for this task alone;
    ///   NaN where this task is everything
    /// @param detail follows the time left
    synchronized void update(
            String name, long done, long total, double wholeSeconds, String detail) {
        long now = System.nanoTime();
        if (!name.equals(task)) {
            finish();
            task = name;
            startNanos = now;
            firstDone = done;
            shownNanos = now - LOG_NANOS;
        }
        boolean last = done >= total;
        if (!last && now - shownNanos < (terminal ? REDRAW_NANOS : LOG_NANOS)) {
            return;
        }
        shownNanos = now;
        String left = last ? "done" : remaining(now, done, total, wholeSeconds);
        if (terminal) {
            int filled = total == 0 ? BAR : (int) (BAR * done / total);
            show(
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
            String time = left.isEmpty() ? "" : left + "; ";
            out.println("%s %d/%d: %s%s".formatted(name, done, total, time, detail));
        }
        if (last) {
            finish();
        }
    }

    /// On a terminal, says what is being done while there is nothing to count; the next line or
    /// update takes its place.
    synchronized void status(String text) {
        if (terminal) {
            show(text);
        }
    }

    /// A line of its own, above what is redrawn.
    synchronized void line(String text) {
        if (shown.isEmpty()) {
            out.println(text);
            return;
        }
        out.print("\r\u001b[K" + text + System.lineSeparator());
        show(task.isEmpty() ? "" : shown);
    }

    /// Ends what is redrawn, if there is anything.
    synchronized void finish() {
        if (!shown.isEmpty()) {
            out.println();
            shown = "";
        }
        task = "";
    }

    private void show(String text) {
        out.print(BEGIN + text + END);
        out.flush();
        shown = text;
    }

    private String remaining(long now, long done, long total, double wholeSeconds) {
        long made = done - firstDone;
        double seconds = (now - startNanos) / 1e9 / made * (total - done);
        if (Double.isNaN(wholeSeconds)) {
            return made <= 0 ? "" : duration(seconds) + " left";
        }
        String whole = "run " + duration(wholeSeconds);
        if (made <= 0) {
            return whole + " left";
        }
        return duration(seconds) + " left (" + whole + ")";
    }

    /// `42 s`, `3 min 05 s`, `2 h 07 min`.
    static String duration(double seconds) {
        long whole = Math.round(seconds);
        if (whole < 60) {
            return whole + " s";
        }
        if (whole < 3600) {
            return String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60);
        }
        return String.format(Locale.ROOT, "%d h %02d min", whole / 3600, whole % 3600 / 60);
    }
}
