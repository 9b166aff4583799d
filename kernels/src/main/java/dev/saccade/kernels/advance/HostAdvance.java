package dev.saccade.kernels.advance;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;

/// Counters on the CPU: a few, so one loop.
final class HostAdvance implements Advance {

    @Override
    public void advance(int count, Span counters) {
        long address = counters.require("counters", DType.I32, count);
        for (int i = 0; i < count; i++) {
            long at = address + (long) Integer.BYTES * i;
            HostMemory.SPACE.set(Lanes.INT, at, Lanes.getInt(at) + 1);
        }
    }
}
