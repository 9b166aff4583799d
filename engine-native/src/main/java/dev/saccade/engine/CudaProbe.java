package dev.saccade.engine;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// What a look at the machine's CUDA devices found. Taking it never throws and never makes a
/// context.
///
/// @param reason why no CUDA device can be used; null when at least one can
/// @param driverVersion as the driver gives it, 13000 for 13.0; 0 where there is no driver
/// @param binding which implementation talks to the driver, `ffm` or `jcuda`
/// @param devices the visible devices
public record CudaProbe(
        @Nullable String reason, int driverVersion, String binding, List<CudaProperties> devices) {
    public CudaProbe {
        devices = List.copyOf(devices);
    }

    /// Whether a CUDA device can be used.
    public boolean usable() {
        return reason == null;
    }
}
