package dev.saccade.bench;

import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// What is known of one case.
///
/// @param name the case
/// @param flops arithmetic operations of a run; 0 where bytes are what counts
/// @param bytes each input read once, each output written once; 0 where neither counts
/// @param peaks what the device reaches at best
/// @param ours our times; null when it was not measured
/// @param accuracy of our results
/// @param others those of peers
/// @param note why something is missing; empty otherwise
record TableRow(
        String name,
        double flops,
        double bytes,
        Peaks peaks,
        Race.@Nullable Times ours,
        Accuracy accuracy,
        List<Other> others,
        String note) {

    TableRow {
        others = List.copyOf(others);
    }

    /// A case of which nothing is known but why.
    static TableRow empty(String name, String note) {
        return new TableRow(name, 0, 0, Peaks.NONE, null, Accuracy.UNKNOWN, List.of(), note);
    }

    /// A peer's times, and how far its results are from exact ones.
    record Other(String peer, Race.Times times, Accuracy accuracy) {}

    /// The fastest peer; null where there is none.
    @Nullable Other best() {
        Other best = null;
        for (Other other : others) {
            if (best == null || other.times.median() < best.times.median()) {
                best = other;
            }
        }
        return best;
    }

    /// The same with more peers.
    TableRow with(List<Other> more) {
        return new TableRow(
                name,
                flops,
                bytes,
                peaks,
                ours,
                accuracy,
                Stream.concat(others.stream(), more.stream()).toList(),
                note);
    }
}
