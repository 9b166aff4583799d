package dev.saccade.bench;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Event;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.IntConsumer;

/// Measures ways to do the same in turns, so that a GPU that gets warmer or slower does so for all
/// of them.
///
/// A turn of a short case is several runs in a row. Before each turn on the device's clock the
/// device fills a buffer larger than its cache: that empties the cache, and keeps the device busy
/// while the host queues the runs, so that they follow each other without a gap.
final class Race implements AutoCloseable {
    private static final long PLUG_BYTES = 256L << 20;
    private static final double TURN_SECONDS = 1e-3;
    private static final int MOST_RUNS = 32;
    private static final int SUBMISSIONS = 256;
    private static final int WARM_UPS = 3;
    private static final int FEWEST_TURNS = 5;
    private static final int MOST_TURNS = 31;

    private final Device device;
    private final List<Event> events = new ArrayList<>();
    private final DeviceBuffer plug;

    Race(Device device) {
        this.device = device;
        if (device instanceof CudaDevice cuda) {
            events.add(cuda.event());
            events.add(cuda.event());
            plug = cuda.allocate(PLUG_BYTES);
        } else {
            plug = device.allocate(1);
        }
    }

    /// One of those that race.
    record Entrant(String name, IntConsumer run) {}

    /// The microseconds of a run: the median of the turns and their quartiles.
    record Times(double median, double low, double high) {

        /// @param turns microseconds of each turn; sorted here
        static Times of(double[] turns) {
            double[] sorted = turns.clone();
            Arrays.sort(sorted);
            int last = sorted.length - 1;
            return new Times(
                    (sorted[last / 2] + sorted[(last + 1) / 2]) / 2,
                    sorted[last / 4],
                    sorted[last - last / 4]);
        }
    }

    /// Measures all entrants.
    ///
    /// @param seconds about how long each of them runs
    /// @return their times, in their order
    List<Times> run(List<Entrant> entrants, PreparedCase.Clock clock, int sets, double seconds) {
        int[] runs = new int[entrants.size()];
        double slowest = 0;
        for (int i = 0; i < runs.length; i++) {
            Entrant entrant = entrants.get(i);
            int first = clock == PreparedCase.Clock.SUBMISSION ? SUBMISSIONS : WARM_UPS;
            turn(entrant, clock, sets, first); // compiled and loaded by now
            double micros = turn(entrant, clock, sets, first);
            runs[i] =
                    switch (clock) {
                        case SUBMISSION -> SUBMISSIONS;
                        case ROUND_TRIP -> 1;
                        case DEVICE ->
                                (int)
                                        Math.clamp(
                                                Math.ceil(TURN_SECONDS * 1e6 / micros),
                                                1,
                                                MOST_RUNS);
                    };
            slowest = Math.max(slowest, runs[i] * micros);
        }
        int turns = (int) Math.clamp(seconds * 1e6 / slowest, (double) FEWEST_TURNS, MOST_TURNS);
        double[][] micros = new double[runs.length][turns];
        for (int turn = 0; turn < turns; turn++) {
            for (int i = 0; i < runs.length; i++) {
                int entrant = (turn + i) % runs.length;
                micros[entrant][turn] = turn(entrants.get(entrant), clock, sets, runs[entrant]);
            }
        }
        List<Times> times = new ArrayList<>();
        for (double[] turnMicros : micros) {
            times.add(Times.of(turnMicros));
        }
        return times;
    }

    /// Microseconds of one of `runs` runs.
    private double turn(Entrant entrant, PreparedCase.Clock clock, int sets, int runs) {
        boolean onDevice = clock == PreparedCase.Clock.DEVICE && !events.isEmpty();
        if (onDevice) {
            device.fill(plug, 0, plug.bytes(), (byte) 0x55);
            events.get(0).record();
            for (int i = 0; i < runs; i++) {
                entrant.run.accept(i % sets);
            }
            events.get(1).record();
            events.get(1).synchronize();
            return 1e3 * events.get(1).millisecondsSince(events.get(0)) / runs;
        }
        device.synchronize();
        long start = System.nanoTime();
        for (int i = 0; i < runs; i++) {
            entrant.run.accept(i % sets);
        }
        if (clock != PreparedCase.Clock.SUBMISSION) {
            device.synchronize();
        }
        double micros = 1e-3 * (System.nanoTime() - start) / runs;
        device.synchronize();
        return micros;
    }

    @Override
    public void close() {
        events.forEach(Event::close);
        plug.close();
    }
}
