package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;

/// What the engine does, as a case on a CUDA device for JMH suites that measure the host's time:
/// prepared and checked when it is opened. [Contest] is for those on the device's clock.
public final class MeasuredCase implements AutoCloseable {
    private final CudaDevice device;
    private final Workbench bench;
    private final PreparedCase prepared;

    private MeasuredCase(CudaDevice device, Case work) {
        this.device = device;
        bench = new Workbench(device, Peers.NONE, Workbench.FULL_NOISE);
        prepared = Cases.prepare(work, bench);
        prepared.check();
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

    @Override
    public void close() {
        bench.close();
        device.close();
    }
}
