package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.InputException;
import java.util.ArrayList;
import java.util.List;

/// A case of the list on a CUDA device for JMH: prepared, compared with exact samples, beside the
/// peers that were found, and beside what the device reaches at best.
public final class Contest implements AutoCloseable {
    /// Runs of one [#run()].
    public static final int RUNS = 16;

    /// About how long each entrant runs before each iteration, seconds.
    private static final double SECONDS = 0.1;

    /// What was measured last. JMH makes profilers by their names, in the same process as the
    /// benchmark, and asks them when the last iteration's contest is closed already: there is no
    /// other way between the two.
    private static volatile List<Measure> latest = List.of();

    private final CudaDevice device;
    private final Peers peers;
    private final Workbench bench;
    private final Race race;
    private final Peaks peaks;
    private final PreparedCase prepared;
    private final Entrants entrants;

    private Contest(Case work) {
        device = CudaDevice.open(0);
        peers = Peers.open(device);
        bench = new Workbench(device, peers, Workbench.FULL_NOISE);
        race = new Race(device);
        peaks = Peaks.measure(bench, race, SECONDS).of(work);
        prepared = Cases.prepare(work, bench);
        entrants = Entrants.of(prepared, bench);
        if (!entrants.notes().isEmpty()) {
            System.out.println("# " + entrants.notes());
        }
    }

    /// A case of the list, ready to run.
    ///
    /// @param name its name, `gemm/38b/down`
    /// @throws InputException when there is no such case
    /// @throws IllegalStateException when it computes something wrong
    public static Contest named(String name) {
        latest = List.of();
        return new Contest(Case.named(name));
    }

    /// What the last [#race()] of this process and the checks found; empty before the first.
    static List<Measure> latest() {
        return latest;
    }

    /// Measures all entrants in turns on the device's clock, as the table does.
    public void race() {
        latest = measures(race.run(entrants.racers(), prepared.clock(), prepared.sets(), SECONDS));
    }

    /// Runs ours [#RUNS] times in a row and waits.
    public void run() {
        for (int i = 0; i < RUNS; i++) {
            prepared.run().accept(i % prepared.sets());
        }
        device.synchronize();
    }

    private List<Measure> measures(List<Race.Times> times) {
        List<Measure> measures = new ArrayList<>();
        for (int i = 0; i < times.size(); i++) {
            String prefix = i == 0 ? "" : Measure.PEER + entrants.racers().get(i).name() + ".";
            measures.add(new Measure(prefix + Measure.TIME, times.get(i).median(), "us"));
            Accuracy accuracy = entrants.accuracies().get(i);
            if (accuracy.isKnown()) {
                measures.add(new Measure(prefix + Measure.ERROR, accuracy.error(), "relative"));
                measures.add(new Measure(prefix + Measure.ALLOWED, accuracy.allowed(), "relative"));
            }
        }
        double seconds = times.getFirst().median() * 1e-6;
        double flops = prepared.flops() / seconds;
        double bytes = prepared.bytes() / seconds;
        if (prepared.flops() != 0) {
            measures.add(new Measure(Measure.FLOPS, prepared.flops() * 1e-12, "TFLOP"));
            measures.add(new Measure("rate", flops * 1e-12, "TFLOP/s"));
            if (peaks.flops() != 0) {
                measures.add(new Measure("percentOfPeak", 100 * flops / peaks.flops(), "%"));
                measures.add(
                        new Measure(
                                Measure.PEAK_FLOPS + peaks.by(), peaks.flops() * 1e-12, "TFLOP/s"));
            }
        }
        measures.add(new Measure(Measure.BYTES, prepared.bytes() * 1e-9, "GB"));
        measures.add(new Measure("bandwidth", bytes * 1e-9, "GB/s"));
        measures.add(new Measure("percentOfCopy", 100 * bytes / peaks.bytes(), "%"));
        measures.add(new Measure(Measure.PEAK_BYTES, peaks.bytes() * 1e-9, "GB/s"));
        return measures;
    }

    @Override
    public void close() {
        race.close();
        bench.close();
        peers.close();
        device.close();
    }
}
