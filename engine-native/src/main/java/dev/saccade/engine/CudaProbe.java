package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.CudaDrivers;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
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

    /// The oldest compute capability that kernels are built for.
    static final int LEAST_COMPUTE_MAJOR = 8;

    private static final int NAME_BYTES = 256;

    public CudaProbe {
        devices = List.copyOf(devices);
    }

    /// Whether a CUDA device can be used.
    public boolean usable() {
        return reason == null;
    }

    static CudaProbe take(CudaDrivers chosen) {
        CudaDriver driver = chosen.driver();
        if (driver == null) {
            return new CudaProbe(
                    chosen.reason(), chosen.driverVersion(), chosen.binding(), List.of());
        }
        List<CudaProperties> devices = new ArrayList<>();
        String reason = look(driver, devices);
        return new CudaProbe(reason, chosen.driverVersion(), chosen.binding(), devices);
    }

    /// Fills in the devices; what stands in the way of using any, or null.
    private static @Nullable String look(CudaDriver driver, List<CudaProperties> devices) {
        try (Arena arena = Arena.ofConfined()) {
            Look look = new Look(driver, arena.allocate(NAME_BYTES, 8));
            int code = driver.cuInit(0);
            if (code == CudaDriver.SUCCESS) {
                code = driver.cuDeviceGetCount(look.out);
            }
            int count = code == CudaDriver.SUCCESS ? look.outInt() : 0;
            if (count == 0) {
                return words(driver, code == CudaDriver.SUCCESS ? CudaDriver.NO_DEVICE : code);
            }
            String reason = null;
            boolean usable = false;
            for (int ordinal = 0; ordinal < count; ordinal++) {
                String refusal = look.at(ordinal, devices);
                usable |= refusal == null;
                reason = reason == null ? refusal : reason;
            }
            return usable ? null : reason;
        }
    }

    /// Why this device can't be used, as far as that shows without a context; null when it can.
    static @Nullable String refusal(CudaProperties properties) {
        return properties.computeMajor() >= LEAST_COMPUTE_MAJOR
                ? null
                : "%s has compute capability %d.%d, and %d.0 or newer is needed"
                        .formatted(
                                properties.name(),
                                properties.computeMajor(),
                                properties.computeMinor(),
                                LEAST_COMPUTE_MAJOR);
    }

    /// What a failed call means for someone who wants to use a device.
    static String words(CudaDriver driver, int code) {
        String meaning =
                switch (code) {
                    case CudaDriver.NO_DEVICE ->
                            "the driver finds no GPU, or CUDA_VISIBLE_DEVICES hides it";
                    case CudaDriver.DEVICE_UNAVAILABLE ->
                            "the GPU is in use by another process, exclusively, or closed to compute"
                                    + " work (nvidia-smi -q -d COMPUTE)";
                    case CudaDriver.STUB_LIBRARY ->
                            "the library found is the toolkit's stub, not NVIDIA's driver";
                    case CudaDriver.SYSTEM_NOT_READY -> "the GPU's fabric is not ready";
                    case CudaDriver.SYSTEM_DRIVER_MISMATCH,
                            CudaDriver.COMPAT_NOT_SUPPORTED_ON_DEVICE ->
                            "the driver's library does not fit its kernel module: reboot, or"
                                    + " reinstall the driver";
                    default -> driver.errorText(code);
                };
        return "%s (%s)".formatted(meaning, driver.errorName(code));
    }

    /// Queries that need no context.
    private record Look(CudaDriver driver, MemorySegment out) {

        /// Adds a device to `devices`, if it can be seen at all; why it can't be used, or null.
        @Nullable String at(int ordinal, List<CudaProperties> devices) {
            int code = driver.cuDeviceGet(out, ordinal);
            if (code != CudaDriver.SUCCESS) {
                return "cuda:" + ordinal + ": " + words(driver, code);
            }
            int device = outInt();
            int[] attributes = {
                CudaDriver.DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                CudaDriver.DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                CudaDriver.DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                CudaDriver.DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
                CudaDriver.DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                CudaDriver.DEVICE_ATTRIBUTE_COMPUTE_MODE
            };
            int[] values = new int[attributes.length];
            for (int i = 0; i < attributes.length; i++) {
                code = driver.cuDeviceGetAttribute(out, attributes[i], device);
                if (code != CudaDriver.SUCCESS) {
                    return "cuda:" + ordinal + ": " + words(driver, code);
                }
                values[i] = outInt();
            }
            code = driver.cuDeviceTotalMem(out, device);
            long memoryBytes = out.get(ValueLayout.JAVA_LONG, 0);
            if (code == CudaDriver.SUCCESS) {
                code = driver.cuDeviceGetName(out, device);
            }
            if (code != CudaDriver.SUCCESS) {
                return "cuda:" + ordinal + ": " + words(driver, code);
            }
            CudaProperties properties =
                    new CudaProperties(
                            ordinal,
                            out.getString(0),
                            values[0],
                            values[1],
                            values[2],
                            memoryBytes,
                            values[3],
                            values[4]);
            devices.add(properties);
            return values[5] == CudaDriver.COMPUTEMODE_PROHIBITED
                    ? "cuda:" + ordinal + ": " + words(driver, CudaDriver.DEVICE_UNAVAILABLE)
                    : refusal(properties);
        }

        int outInt() {
            return out.get(ValueLayout.JAVA_INT, 0);
        }
    }
}
