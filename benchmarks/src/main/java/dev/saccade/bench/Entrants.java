package dev.saccade.bench;

import dev.saccade.bench.peer.Peer;
import java.util.ArrayList;
import java.util.List;

/// Those that race for a case: ours first, then other ways of ours to do it, then the peers that
/// are here and have such an operation. Ours and the peers have been compared with exact samples.
///
/// @param racers the entrants
/// @param accuracies of each of them
/// @param notes why a peer that should be there is missing
record Entrants(List<Race.Entrant> racers, List<Accuracy> accuracies, String notes) {

    Entrants {
        racers = List.copyOf(racers);
        accuracies = List.copyOf(accuracies);
    }

    /// Checks the case and lets its peers in.
    ///
    /// @throws IllegalStateException when ours computes something wrong
    static Entrants of(PreparedCase prepared, Workbench bench) {
        List<Race.Entrant> racers = new ArrayList<>();
        List<Accuracy> accuracies = new ArrayList<>();
        prepared.check();
        racers.add(new Race.Entrant("saccade", prepared.run()));
        accuracies.add(bench.takeAccuracy());
        for (PreparedCase.Rival rival : prepared.rivals()) {
            racers.add(new Race.Entrant(rival.name(), rival.run()));
            accuracies.add(Accuracy.UNKNOWN);
        }
        List<String> notes = new ArrayList<>();
        PreparedCase.ForPeers other = prepared.other();
        if (other != null) {
            for (Peer peer : bench.peers().usable()) {
                try {
                    racers.add(enter(peer, other, prepared, bench));
                    accuracies.add(bench.takeAccuracy());
                } catch (IllegalStateException e) {
                    notes.add(peer.name() + ": " + firstLine(e));
                    bench.takeAccuracy();
                } catch (UnsupportedOperationException e) {
                    // Most peers do not have most operations: only surprises are worth a note.
                    String reason = firstLine(e);
                    if (reason.contains("fails") || reason.startsWith("cuDNN:")) {
                        notes.add(peer.name() + ": " + reason);
                    }
                }
            }
        }
        return new Entrants(racers, accuracies, String.join("; ", notes));
    }

    /// Makes a peer ready and checks it.
    private static Race.Entrant enter(
            Peer peer, PreparedCase.ForPeers other, PreparedCase prepared, Workbench bench) {
        Peer.Call call = peer.prepare(other.work(), other.addresses().apply(0));
        bench.closeLater(call);
        prepared.reset().run();
        call.run(other.addresses().apply(0));
        other.compare().run();
        long[][] addresses = new long[prepared.sets()][];
        for (int set = 0; set < addresses.length; set++) {
            addresses[set] = other.addresses().apply(set);
        }
        return new Race.Entrant(peer.name(), set -> call.run(addresses[set]));
    }

    /// The first line of what an exception says.
    static String firstLine(Exception e) {
        return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
    }
}
