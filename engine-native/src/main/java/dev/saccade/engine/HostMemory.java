package dev.saccade.engine;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/// Host memory by address, for the kernels that run on the host.
public final class HostMemory {

    /// The whole address space as one segment, so that a kernel reads and writes at an address
    /// (`SPACE.get(JAVA_FLOAT, address)`) with a bounds check the compiler can drop. Only addresses
    /// inside an open [DeviceBuffer] of a [HostDevice] may be touched: kernels check the extent of
    /// their operands once, at entry.
    public static final MemorySegment SPACE = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

    /// Alignment of every allocation in bytes: a cache line, and the widest vector.
    static final long ALIGNMENT = 64;

    private static final MethodHandle ALIGNED_ALLOC =
            link(
                    "aligned_alloc",
                    FunctionDescriptor.of(
                            ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
    private static final MethodHandle FREE =
            link("free", FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG));

    private HostMemory() {}

    /// A view of `bytes` bytes at `address`.
    public static MemorySegment segment(long address, long bytes) {
        return SPACE.asSlice(address, bytes);
    }

    /// C's `aligned_alloc`; 0 when there is no memory. Does not touch the pages, unlike an arena,
    /// which zeroes them.
    static long allocate(long bytes) {
        try {
            return (long) ALIGNED_ALLOC.invokeExact(ALIGNMENT, bytes);
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    static void free(long address) {
        try {
            FREE.invokeExact(address);
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    private static MethodHandle link(String name, FunctionDescriptor descriptor) {
        SymbolLookup lookup = Linker.nativeLinker().defaultLookup();
        return Linker.nativeLinker().downcallHandle(lookup.findOrThrow(name), descriptor);
    }
}
