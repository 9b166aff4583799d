package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// What everything on one CUDA device shares: the driver, the thread that may use it, and what
/// became of it.
final class CudaContext {
    /// Something on the device that is closed by its owner, or at the latest with the device.
    @FunctionalInterface
    interface Resource extends AutoCloseable {
        @Override
        void close();
    }

    /// Set on the command line, it synchronises after each launch.
    static final String DEBUG_PROPERTY = "saccade.cuda.debug";

    final CudaDriver driver;
    final String device;

    /// Lives until the device is closed.
    final Arena arena = Arena.ofShared();

    /// Two results of a call, 8 bytes each.
    final MemorySegment out = arena.allocate(16, 8);

    final MemorySegment second = out.asSlice(8);

    /// Its own place: the mode changes between a call and the reading of its result.
    private final MemorySegment captureMode = arena.allocate(ValueLayout.JAVA_INT);

    final boolean debug = Boolean.getBoolean(DEBUG_PROPERTY);

    /// Pinned host memory by address.
    final TreeMap<Long, PinnedBuffer> pinned = new TreeMap<>();

    /// What was made on the device and is still open, the stream first.
    final Set<Resource> resources = new LinkedHashSet<>();

    private final Thread owner = Thread.currentThread();
    private @Nullable CudaException death;
    private boolean open = true;
    private boolean recording;

    CudaContext(CudaDriver driver, String device) {
        this.driver = driver;
        this.device = device;
    }

    /// Refuses work of a foreign thread, on a closed device, or after an error that ended the
    /// context.
    void enter() {
        requireOwner();
        if (!open) {
            throw new IllegalStateException(device + " is closed");
        }
        if (death != null) {
            CudaException repeated =
                    new CudaException(
                            death.code(),
                            death.name(),
                            death.call(),
                            death.kernel(),
                            death.grid(),
                            device
                                    + " can't be used any more in this process, since "
                                    + death.getMessage());
            repeated.initCause(death);
            throw repeated;
        }
    }

    void requireOwner() {
        if (Thread.currentThread() != owner) {
            throw new IllegalStateException(
                    "%s is used by thread '%s', which opened it: not by thread '%s'"
                            .formatted(device, owner.getName(), Thread.currentThread().getName()));
        }
    }

    /// As [#enter()], for what can't be part of a recording.
    void enterUnrecorded(String what) {
        enter();
        if (recording) {
            throw new IllegalStateException(
                    what
                            + " on "
                            + device
                            + " inside a recording: it would happen once, not at each replay; do it"
                            + " before or after");
        }
    }

    /// Throws what went wrong in a call.
    void check(int code, String call) {
        if (code != CudaDriver.SUCCESS) {
            throw failure(code, call, null, null, "");
        }
    }

    /// The exception for a failed call. A code that the driver will repeat for every later call
    /// makes the device unusable.
    CudaException failure(
            int code,
            String call,
            @Nullable String kernel,
            @Nullable String grid,
            String arguments) {
        String name = driver.errorName(code);
        StringBuilder message = new StringBuilder(device).append(": ").append(call);
        if (kernel != null) {
            message.append(" of kernel ").append(kernel).append(" (").append(grid).append(')');
        }
        message.append(": ").append(name).append(" (").append(code).append("): ");
        message.append(driver.errorText(code)).append(arguments);
        boolean sticky = isSticky(code);
        if (sticky && !debug) {
            message.append("; run with -D" + DEBUG_PROPERTY + "=true to see which kernel did it");
        }
        CudaException failure =
                new CudaException(code, name, call, kernel, grid, message.toString());
        if (sticky && death == null) {
            death = failure;
        }
        return failure;
    }

    private static boolean isSticky(int code) {
        return switch (code) {
            case CudaDriver.DEINITIALIZED,
                    CudaDriver.DEVICE_UNAVAILABLE,
                    CudaDriver.ECC_UNCORRECTABLE,
                    CudaDriver.NVLINK_UNCORRECTABLE,
                    CudaDriver.CONTAINED,
                    CudaDriver.ILLEGAL_ADDRESS,
                    CudaDriver.LAUNCH_TIMEOUT,
                    CudaDriver.CONTEXT_IS_DESTROYED,
                    CudaDriver.ASSERT,
                    CudaDriver.HARDWARE_STACK_ERROR,
                    CudaDriver.ILLEGAL_INSTRUCTION,
                    CudaDriver.MISALIGNED_ADDRESS,
                    CudaDriver.INVALID_ADDRESS_SPACE,
                    CudaDriver.INVALID_PC,
                    CudaDriver.LAUNCH_FAILED ->
                    true;
            default -> false;
        };
    }

    /// An address or handle that the last call gave back.
    long outLong() {
        return out.get(ValueLayout.JAVA_LONG, 0);
    }

    /// An integer that the last call gave back.
    int outInt() {
        return out.get(ValueLayout.JAVA_INT, 0);
    }

    boolean recording() {
        return recording;
    }

    void recording(boolean value) {
        recording = value;
    }

    /// Lets this thread make calls that the driver forbids while a thread-local capture goes on,
    /// until [#restrict(int)].
    ///
    /// A capture in thread-local mode refuses, in its own thread, whatever might wait for the
    /// device or depend on its state, so a forgotten synchronisation is an error and not a wrong
    /// graph. Getting memory and loading code are among the refused, but harmless: they touch
    /// neither the stream nor the graph. So they, and only they, are done in relaxed mode.
    ///
    /// @return the mode before, for [#restrict(int)]
    int relax() {
        return recording ? exchangeMode(CudaDriver.STREAM_CAPTURE_MODE_RELAXED) : -1;
    }

    void restrict(int mode) {
        if (mode >= 0) {
            exchangeMode(mode);
        }
    }

    private int exchangeMode(int mode) {
        captureMode.set(ValueLayout.JAVA_INT, 0, mode);
        check(
                driver.cuThreadExchangeStreamCaptureMode(captureMode),
                "cuThreadExchangeStreamCaptureMode");
        return captureMode.get(ValueLayout.JAVA_INT, 0);
    }

    /// Whether host memory lies in a pinned buffer.
    boolean isPinned(MemorySegment memory) {
        if (!memory.isNative()) {
            return false;
        }
        Map.Entry<Long, PinnedBuffer> before = pinned.floorEntry(memory.address());
        return before != null && before.getValue().contains(memory);
    }

    boolean isOpen() {
        return open;
    }

    /// Ends the use of the device and closes what was made on it, the stream last.
    void close() {
        new ArrayList<>(resources).reversed().forEach(Resource::close);
        open = false;
        arena.close();
    }
}
