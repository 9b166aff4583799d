package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;

/// The queue of a CUDA device's work. All of a device's work goes to one, in order.
public final class Stream {
    private final CudaContext context;
    private final long handle;

    /// Does not wait for the default stream, which other libraries of the process may use.
    Stream(CudaContext context) {
        this.context = context;
        context.check(
                context.driver.cuStreamCreate(context.out, CudaDriver.STREAM_NON_BLOCKING),
                "cuStreamCreate");
        this.handle = context.outLong();
        context.resources.add(() -> {
            int _ = context.driver.cuStreamDestroy(handle);
        });
    }

    /// The driver's handle, CUstream: for libraries that queue their own work here.
    public long handle() {
        return handle;
    }

    /// Whether all submitted work has finished.
    public boolean isIdle() {
        context.enterUnrecorded("a query of the stream");
        int code = context.driver.cuStreamQuery(handle);
        if (code == CudaDriver.NOT_READY) {
            return false;
        }
        context.check(code, "cuStreamQuery");
        return true;
    }

    /// Waits until all submitted work has finished. Faults that kernels report are left for
    /// [CudaDevice#synchronize()].
    public void synchronize() {
        context.enterUnrecorded("a synchronisation");
        context.check(context.driver.cuStreamSynchronize(handle), "cuStreamSynchronize");
    }
}
