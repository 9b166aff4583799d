package dev.saccade.engine;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/// A fixed crew that runs one parallel loop at a time. The caller is worker 0. Between loops the
/// others spin for some tens of microseconds, since the next loop usually follows at once; then
/// they offer their processor to whoever wants it for about a millisecond; then they park, so that
/// an idle device costs nothing. Waking a parked worker costs more than most loops take.
final class WorkerPool implements AutoCloseable {
    private static final int SPINS = 2_000;
    private static final int YIELDS = 2_000;

    private final int workers;
    private final Thread[] threads;
    private final AtomicInteger pending = new AtomicInteger();
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicIntegerArray parked;
    private volatile boolean closed;
    private volatile @Nullable Throwable failure;
    private HostDevice.@Nullable Part part;
    private int parts;
    private boolean running;

    WorkerPool(int workers) {
        this.workers = workers;
        this.threads = new Thread[workers - 1];
        this.parked = new AtomicIntegerArray(workers);
        for (int worker = 1; worker < workers; worker++) {
            int index = worker;
            threads[worker - 1] =
                    Thread.ofPlatform()
                            .daemon()
                            .name("saccade-worker-" + worker)
                            .start(() -> serve(index));
        }
    }

    int workers() {
        return workers;
    }

    @SuppressWarnings("ThreadPriorityCheck") // the yield below helps, nothing depends on it
    void run(int newParts, HostDevice.Part newPart) {
        if (closed) {
            throw new IllegalStateException("the CPU device is closed");
        }
        if (running) {
            throw new IllegalStateException("a part may not start another parallel loop");
        }
        if (newParts <= 0) {
            return;
        }
        if (workers == 1 || newParts == 1) {
            newPart.run(0, 0, newParts);
            return;
        }
        running = true;
        part = newPart;
        parts = newParts;
        failure = null;
        pending.set(workers - 1);
        generation.incrementAndGet(); // publishes part and parts
        for (int worker = 1; worker < workers; worker++) {
            if (parked.get(worker) != 0) {
                LockSupport.unpark(threads[worker - 1]);
            }
        }
        Throwable own = null;
        try {
            runShare(0, newPart, newParts);
        } catch (Throwable t) {
            own = t;
        }
        int spins = 0;
        while (pending.get() != 0) {
            if (spins++ < SPINS) {
                Thread.onSpinWait();
            } else {
                Thread.yield(); // on a busy machine a worker may be waiting for this processor
            }
        }
        part = null;
        running = false;
        Throwable first = own != null ? own : failure;
        switch (first) {
            case null -> {}
            case RuntimeException e -> throw e;
            case Error e -> throw e;
            default -> throw new IllegalStateException(first);
        }
    }

    private void runShare(int worker, HostDevice.Part work, int count) {
        int begin = (int) ((long) count * worker / workers);
        int end = (int) ((long) count * (worker + 1) / workers);
        if (begin < end) {
            work.run(worker, begin, end);
        }
    }

    /// Sleeps until the next loop. The mark goes up before the last look at the generation, and
    /// [#run] raises the generation before it looks at the mark: one of the two sees the other.
    private void park(int worker, int seen) {
        parked.set(worker, 1);
        if (generation.get() == seen && !closed) {
            LockSupport.park(this);
        }
        parked.set(worker, 0);
    }

    @SuppressWarnings("ThreadPriorityCheck") // the yield below helps, nothing depends on it
    private void serve(int worker) {
        int seen = 0;
        while (true) {
            int spins = 0;
            while (generation.get() == seen) {
                if (closed) {
                    return;
                }
                if (spins < SPINS) {
                    spins++;
                    Thread.onSpinWait();
                } else if (spins < SPINS + YIELDS) {
                    spins++;
                    Thread.yield();
                } else {
                    park(worker, seen);
                }
            }
            seen = generation.get();
            HostDevice.Part work = part;
            try {
                if (work != null) {
                    runShare(worker, work, parts);
                }
            } catch (Throwable t) {
                failure = t;
            } finally {
                pending.decrementAndGet();
            }
        }
    }

    @Override
    public void close() {
        closed = true;
        for (Thread thread : threads) {
            LockSupport.unpark(thread);
        }
    }
}
