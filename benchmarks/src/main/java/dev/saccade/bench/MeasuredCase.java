package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Event;
import java.util.List;

/// A case on a CUDA device for JMH: prepared and checked when it is opened.
public final class MeasuredCase implements AutoCloseable {
    /// Runs between two events.
    private static final int RUNS = 16;

    private final CudaDevice device;
    private final Workbench bench;
    private final PreparedCase prepared;
    private final Event start;
    private final Event end;

    private MeasuredCase(CudaDevice device, Case work) {
        this.device = device;
        bench = new Workbench(device, Peers.NONE, Workbench.FULL_NOISE);
        prepared = Cases.prepare(work, bench);
        prepared.check();
        start = device.event();
        end = device.event();
    }

    /// A case of the list.
    ///
    /// @param name its name, `gemm/38b/down`
    /// @throws IllegalStateException when it computes something wrong
    public static MeasuredCase named(String name) {
        List<Case> cases =
                Case.read(Case.FULL).stream().filter(work -> work.name().equals(name)).toList();
        if (cases.isEmpty()) {
            throw new IllegalArgumentException(
                    "there is no case " + name + ": --table --list shows them");
        }
        return new MeasuredCase(CudaDevice.open(0), cases.getFirst());
    }

    /// A case as it would be in the list.
    ///
    /// @param parameters `op=launch arguments=0`
    public static MeasuredCase of(String parameters) {
        return new MeasuredCase(CudaDevice.open(0), Case.parse("case " + parameters));
    }

    /// Runs it once, as the list's clock would; returns when the work is queued.
    public void run(int set) {
        prepared.run().accept(set % prepared.sets());
    }

    /// Waits for the device.
    public void synchronize() {
        device.synchronize();
    }

    /// Runs it [#runs()] times and waits.
    ///
    /// @return the device's microseconds for all of them
    public double timedRuns() {
        start.record();
        for (int i = 0; i < RUNS; i++) {
            run(i);
        }
        end.record();
        end.synchronize();
        return 1e3 * end.millisecondsSince(start);
    }

    /// Runs of one [#timedRuns()].
    public int runs() {
        return RUNS;
    }

    /// Arithmetic operations of one run; 0 where bytes are what counts.
    public double flops() {
        return prepared.flops();
    }

    /// Bytes of one run: each input read once, each output written once.
    public double bytes() {
        return prepared.bytes();
    }

    @Override
    public void close() {
        start.close();
        end.close();
        bench.close();
        device.close();
    }
}
