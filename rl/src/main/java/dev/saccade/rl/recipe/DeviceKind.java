package dev.saccade.rl.recipe;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import java.util.Locale;

/// A kind of device. The bits of a run depend on it, not on how many devices of the kind there are
/// or which one is used.
public enum DeviceKind {
    CPU,
    CUDA;

    /// The kind of a device.
    public static DeviceKind of(Device device) {
        return switch (device) {
            case HostDevice _ -> CPU;
            case CudaDevice _ -> CUDA;
        };
    }

    /// The name in recipes: `cpu`, `cuda`.
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }
}
