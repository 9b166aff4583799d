package dev.saccade.kernels.advance;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Moves counters on: the positions, cache rows and key lengths that a recorded decode step reads
/// from device memory. The step does this at its end, so that it finds the next token's when it
/// runs again, and nothing has to be uploaded in between.
public interface Advance {

    /// `counters[i] += 1` for i < count; I32.
    void advance(int count, Span counters);

    /// The implementation for `device`.
    static Advance on(Device device) {
        return switch (device) {
            case HostDevice _ -> new HostAdvance();
            case CudaDevice cuda -> new CudaAdvance(cuda);
        };
    }
}
