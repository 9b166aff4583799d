package dev.saccade.kernels.advance;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;

/// Counters on CUDA: a thread each.
final class CudaAdvance implements Advance {
    private static final int THREADS = 256;

    private final Kernel kernel;

    CudaAdvance(CudaDevice device) {
        kernel = device.program("advance/portable").kernel("advance_i32");
    }

    @Override
    public void advance(int count, Span counters) {
        kernel.begin()
                .pointer(counters.require("counters", DType.I32, count))
                .int32(count)
                .launch(Math.ceilDiv(count, THREADS), THREADS);
    }
}
