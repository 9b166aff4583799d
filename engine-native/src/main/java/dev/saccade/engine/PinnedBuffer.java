package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Host memory that the GPU reaches by itself (page-locked): [CudaDevice#upload] and
/// [CudaDevice#download] copy from and to it without a stop in between.
///
/// An upload from it returns before the copy has happened: its contents must stay as they are until
/// an [Event] recorded behind the upload is done, or the device has been synchronised.
public final class PinnedBuffer implements CudaContext.Resource {
    private final CudaContext context;
    private final MemorySegment segment;
    private boolean open = true;

    PinnedBuffer(CudaContext context, long bytes) {
        this.context = context;
        context.check(
                context.driver.cuMemHostAlloc(
                        context.out,
                        Math.max(bytes, 1),
                        CudaDriver.MEMHOSTALLOC_PORTABLE | CudaDriver.MEMHOSTALLOC_DEVICEMAP),
                "cuMemHostAlloc");
        this.segment = HostMemory.segment(context.outLong(), bytes);
        context.pinned.put(segment.address(), this);
        context.resources.add(this);
    }

    /// The memory.
    ///
    /// @throws IllegalStateException after [#close()]
    public MemorySegment segment() {
        if (!open) {
            throw new IllegalStateException("the pinned buffer is closed");
        }
        return segment;
    }

    /// The address by which the device knows it.
    long deviceAddress() {
        context.check(
                context.driver.cuMemHostGetDevicePointer(context.out, segment),
                "cuMemHostGetDevicePointer");
        return context.out.get(ValueLayout.JAVA_LONG, 0);
    }

    /// Whether `other` is part of this.
    boolean contains(MemorySegment other) {
        return other.address() + other.byteSize() <= segment.address() + segment.byteSize();
    }

    /// Frees the memory; work that still copies from or to it must have finished.
    @Override
    public void close() {
        if (open) {
            context.requireOwner();
            open = false;
            if (context.isOpen()) {
                context.pinned.remove(segment.address());
                context.resources.remove(this);
                int _ = context.driver.cuMemFreeHost(segment);
            }
        }
    }
}
