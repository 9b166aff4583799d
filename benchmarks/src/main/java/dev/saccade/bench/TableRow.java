package dev.saccade.bench;

import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// What is known of one case.
///
/// @param name the case
/// @param flops arithmetic operations of a run; 0 where bytes are what counts
/// @param bytes each input read once, each output written once; 0 where neither counts
/// @param ours our times; null when it was not measured
/// @param others those of peers
/// @param note why something is missing; empty otherwise
record TableRow(
        String name,
        double flops,
        double bytes,
        Race.@Nullable Times ours,
        List<Other> others,
        String note) {

    TableRow {
        others = List.copyOf(others);
    }

    /// A peer's times.
    record Other(String peer, Race.Times times) {}

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

    /// The same with one more peer.
    TableRow with(Other other) {
        return new TableRow(
                name,
                flops,
                bytes,
                ours,
                Stream.concat(others.stream(), Stream.of(other)).toList(),
                note);
    }
}
