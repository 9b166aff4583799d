package dev.saccade.rl.cli;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.ComputeType;
import dev.saccade.rl.recipe.DeviceKind;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Which device a command computes on.
final class DeviceChoice {
    private static final Pattern CUDA = Pattern.compile("cuda(:\\d{1,4})?");

    private DeviceChoice() {}

    /// The kind of device that a name stands for.
    ///
    /// @param name `cpu`, `cuda` or `cuda:N`
    static DeviceKind kind(String name) {
        if (name.equals("cpu")) {
            return DeviceKind.CPU;
        }
        if (CUDA.matcher(name).matches()) {
            return DeviceKind.CUDA;
        }
        throw new InputException(
                "--device " + name, "there is no such device", "use cpu, cuda or cuda:N");
    }

    /// What is used where nobody asks for a device: CUDA where it can be used, otherwise the CPU.
    static DeviceKind automatic() {
        CudaDevice.requireKnownBinding();
        return whyNoCuda(CudaDevice.probe()) == null ? DeviceKind.CUDA : DeviceKind.CPU;
    }

    /// Why nothing can be computed on CUDA here; null where it can.
    static @Nullable String whyNoCuda(CudaProbe probe) {
        if (!probe.usable()) {
            return probe.reason();
        }
        return Kernels.builtForCuda()
                ? null
                : "this build has no CUDA kernels (nvcc was not found when it was built)";
    }

    /// Opens a device by its name.
    ///
    /// @param threads of the CPU; 0 = all processors
    static Device open(String name, int threads) {
        if (threads < 0) {
            throw new InputException(
                    "--threads " + threads, "not a number of threads", "give 1 or more");
        }
        return switch (kind(name)) {
            case CPU -> threads == 0 ? HostDevice.open() : HostDevice.open(threads);
            case CUDA -> CudaDevice.open(ordinal(name));
        };
    }

    private static int ordinal(String name) {
        int colon = name.indexOf(':');
        return colon < 0 ? 0 : Integer.parseInt(name.substring(colon + 1));
    }

    /// A device and what it computes in, for a header line.
    ///
    /// @param automatic whether nobody asked for the device
    static String describe(Device device, ComputeType type, boolean automatic) {
        return switch (device) {
            case HostDevice _ ->
                    "cpu, %s%s"
                            .formatted(
                                    type.label(),
                                    automatic
                                            ? " (no GPU can be used: './saccade doctor' says why)"
                                            : "");
            case CudaDevice cuda ->
                    "%s (%s), %s".formatted(cuda.name(), cuda.properties().name(), type.label());
        };
    }
}
