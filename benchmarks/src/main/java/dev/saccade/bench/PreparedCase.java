package dev.saccade.bench;

import dev.saccade.bench.peer.Work;
import java.util.List;
import java.util.function.IntConsumer;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/// A case with its operands in place.
///
/// @param flops arithmetic operations of one run; 0 where bytes are what counts
/// @param bytes each input read once, each output written once
/// @param sets sets of operands to go round
/// @param clock what measures it
/// @param run runs it on a set of operands
/// @param reset puts the results of set 0 back to what they were at first
/// @param compare compares samples of the results of set 0 with exact ones
/// @param other what peers can compute for it; null where none can
/// @param rivals other ways to do the same, by name, that are no [dev.saccade.bench.peer.Peer]
record PreparedCase(
        double flops,
        double bytes,
        int sets,
        Clock clock,
        IntConsumer run,
        Runnable reset,
        Runnable compare,
        @Nullable ForPeers other,
        List<Rival> rivals) {

    /// What measures a case.
    enum Clock {
        /// The time between two events in the device's stream.
        DEVICE,
        /// The host's time for queueing the work, without waiting for it.
        SUBMISSION,
        /// The host's time until the device has finished.
        ROUND_TRIP
    }

    /// A case as peers see it.
    ///
    /// @param work what they compute
    /// @param addresses the operands of a set
    /// @param compare compares samples of a peer's results of set 0 with exact ones
    record ForPeers(Work work, IntFunction<long[]> addresses, Runnable compare) {}

    /// Another way to do the same.
    record Rival(String name, IntConsumer run) {}

    /// A case on the device's clock.
    static PreparedCase of(
            double flops,
            double bytes,
            int sets,
            IntConsumer run,
            Runnable reset,
            Runnable compare,
            @Nullable ForPeers other) {
        return new PreparedCase(
                flops, bytes, sets, Clock.DEVICE, run, reset, compare, other, List.of());
    }

    /// Runs the case once and compares its results.
    void check() {
        reset.run();
        run.accept(0);
        compare.run();
        reset.run();
    }
}
