package dev.saccade.bench.peer;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The driver's blocking copies in the calling thread's context, with nothing around them: what the
/// engine's uploads and downloads are compared with.
public final class BareCopy {
    private final MethodHandle toDevice;
    private final MethodHandle toHost;

    private BareCopy(Library driver) {
        // The names with _v2 are those that cuda.h gives the functions on 64-bit machines.
        toDevice = driver.function("cuMemcpyHtoD_v2", JAVA_INT, JAVA_LONG, ADDRESS, JAVA_LONG);
        toHost = driver.function("cuMemcpyDtoH_v2", JAVA_INT, ADDRESS, JAVA_LONG, JAVA_LONG);
    }

    /// The driver's copies; null where there is no driver.
    public static @Nullable BareCopy open() {
        Library driver =
                Library.open(
                        List.of("libcuda.so.1"), System.getProperty("saccade.cuda.library", ""));
        return driver == null ? null : new BareCopy(driver);
    }

    /// Copies all of `source` to the device.
    public void upload(long target, MemorySegment source) {
        try {
            check((int) toDevice.invokeExact(target, source, source.byteSize()));
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    /// Fills all of `target` from the device.
    public void download(MemorySegment target, long source) {
        try {
            check((int) toHost.invokeExact(target, source, target.byteSize()));
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    private static void check(int code) {
        if (code != 0) {
            throw new IllegalStateException("the driver's copy fails with error " + code);
        }
    }
}
