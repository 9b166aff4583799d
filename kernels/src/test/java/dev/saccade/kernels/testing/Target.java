package dev.saccade.kernels.testing;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import org.jspecify.annotations.Nullable;

/// What a contract test runs on: a kind of device and the type of its activations and weights. A
/// test is written once, `@ParameterizedTest @EnumSource` over these, and opens its operands with
/// [#open()], which skips the test with the reason where the machine has no such device.
public enum Target {
    CPU_F32(false, DType.F32),
    CUDA_F32(true, DType.F32),
    CUDA_BF16(true, DType.BF16);

    /// The device that `selftest --device` asked for; empty for all.
    private static final String ASKED = System.getProperty("saccade.test.device", "");

    private static @Nullable CudaDevice cuda;

    private final boolean isCuda;
    private final DType dtype;

    Target(boolean isCuda, DType dtype) {
        this.isCuda = isCuda;
        this.dtype = dtype;
    }

    /// The type of activations and weights.
    public DType dtype() {
        return dtype;
    }

    /// Whether this is a CUDA device.
    public boolean isCuda() {
        return isCuda;
    }

    /// Operands on the device: a new CPU device with two workers, or the one CUDA device that all
    /// tests of this JVM share.
    public Buffers open() {
        if (!isCuda) {
            assumeTrue(!ASKED.startsWith("cuda"), "not asked for");
            return new Buffers(HostDevice.open(2), true);
        }
        return new Buffers(sharedCuda(), false);
    }

    /// As [#open()], on a device that no other test uses: for what a device counts.
    public Buffers openAlone() {
        if (!isCuda) {
            return open();
        }
        return new Buffers(CudaDevice.open(sharedCuda().properties().ordinal()), true);
    }

    /// The CUDA device that all tests of this JVM share; skips the test where there is none.
    public static CudaDevice sharedCuda() {
        CudaDevice device = cuda;
        if (device == null) {
            assumeTrue(!ASKED.equals("cpu"), "not asked for");
            CudaProbe probe = CudaDevice.probe();
            assumeTrue(probe.usable(), () -> "no CUDA device: " + probe.reason());
            int colon = ASKED.indexOf(':');
            device = CudaDevice.open(colon < 0 ? 0 : Integer.parseInt(ASKED.substring(colon + 1)));
            cuda = device;
        }
        return device;
    }
}
