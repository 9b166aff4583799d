package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.ValueLayout;

/// A point in a CUDA device's stream: to wait for, or to measure time between two.
public final class Event implements CudaContext.Resource {
    private final CudaContext context;
    private final Stream stream;
    private final long handle;
    private boolean open = true;

    /// @param flags of cuEventCreate
    Event(CudaContext context, Stream stream, int flags) {
        this.context = context;
        this.stream = stream;
        context.check(context.driver.cuEventCreate(context.out, flags), "cuEventCreate");
        this.handle = context.outLong();
        context.resources.add(this);
    }

    /// Puts the event behind all work submitted so far; it may be put there again and again.
    public void record() {
        enter();
        context.check(context.driver.cuEventRecord(handle, stream.handle()), "cuEventRecord");
    }

    /// Whether the work ahead of the event has finished; true as well when it was never recorded.
    public boolean isDone() {
        enter();
        int code = context.driver.cuEventQuery(handle);
        if (code == CudaDriver.NOT_READY) {
            return false;
        }
        context.check(code, "cuEventQuery");
        return true;
    }

    /// Waits for the work ahead of the event.
    public void synchronize() {
        enter();
        context.check(context.driver.cuEventSynchronize(handle), "cuEventSynchronize");
    }

    /// Milliseconds of device time from `start` to this event; both must have been recorded and
    /// reached. The clock ticks about every half microsecond.
    public float millisecondsSince(Event start) {
        enter();
        context.check(
                context.driver.cuEventElapsedTime(context.out, start.handle, handle),
                "cuEventElapsedTime");
        return context.out.get(ValueLayout.JAVA_FLOAT, 0);
    }

    private void enter() {
        context.enterUnrecorded("an event");
        if (!open) {
            throw new IllegalStateException("the event is closed");
        }
    }

    @Override
    public void close() {
        if (open) {
            context.requireOwner();
            open = false;
            if (context.isOpen()) {
                context.resources.remove(this);
                int _ = context.driver.cuEventDestroy(handle);
            }
        }
    }
}
