package dev.saccade.engine;

import java.lang.foreign.MemorySegment;

/// A CUDA GPU as a device: a caching pool over its memory, one stream for all work, programs and
/// kernels. Used by the thread that opened it.
@SuppressWarnings("DoNotCallSuggester")
public final class CudaDevice implements Device {

    private CudaDevice() {}

    /// Looks for CUDA devices; never throws.
    public static CudaProbe probe() {
        throw new UnsupportedOperationException("skeleton");
    }

    /// Opens a device.
    ///
    /// @throws InputException when there is no such device or it can't be used, saying why
    public static CudaDevice open(int ordinal) {
        throw new UnsupportedOperationException("skeleton");
    }

    /// What the device is.
    public CudaProperties properties() {
        throw new UnsupportedOperationException("skeleton");
    }

    /// The program of this name, `<operation>/portable`; loaded at first use from the class path
    /// resource `META-INF/kernels/<name>.fatbin` and kept until the device closes.
    ///
    /// @throws CudaException when the image is missing, corrupt or not made for this device
    public Program program(String name) {
        throw new UnsupportedOperationException("skeleton");
    }

    /// The device address of an `int[4]` in host memory that kernels report a fault in: a kernel
    /// that meets an operand it can't use writes {kind, first, second, third} with an atomic
    /// compare-and-swap of element 0 from 0, writes nothing else, and returns. The next [#download]
    /// or [#synchronize] throws it as an IndexOutOfBoundsException and clears it. Kind 1: index
    /// `first` of a table of `second` rows.
    public long faultAddress() {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public String name() {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public DeviceBuffer allocate(long bytes) {
        throw new UnsupportedOperationException("skeleton");
    }

    void release(DeviceBuffer buffer) {
        buffer.bytes();
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer target, long targetOffset) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void download(DeviceBuffer source, long sourceOffset, MemorySegment target) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void copy(
            DeviceBuffer source,
            long sourceOffset,
            DeviceBuffer target,
            long targetOffset,
            long bytes) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void fill(DeviceBuffer target, long offset, long bytes, byte value) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public Replay record(Runnable work) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void synchronize() {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public MemoryStatistics memory() {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void close() {}
}
