package dev.saccade.tensor;

import java.lang.foreign.MemorySegment;
import java.util.concurrent.Semaphore;

/// Brings a mapped file into memory ahead of the thread that copies it, in the order of its bytes:
/// the disk then works while the copy does, and the copy meets no page faults. At most
/// [#LEAD_BYTES] are brought in ahead.
final class ReadAhead implements AutoCloseable {
    private static final long WINDOW_BYTES = 32L << 20;
    private static final int LEAD_WINDOWS = 8;

    /// How far it runs ahead.
    static final long LEAD_BYTES = WINDOW_BYTES * LEAD_WINDOWS;

    private final MemorySegment file;
    private final Semaphore windows = new Semaphore(LEAD_WINDOWS);
    private final Thread thread;
    private long released;

    /// Starts at the file's beginning.
    ReadAhead(MemorySegment file) {
        this.file = file;
        this.thread = Thread.ofPlatform().name("saccade-read-ahead").daemon().start(this::run);
    }

    private void run() {
        try {
            for (long from = 0; from < file.byteSize(); from += WINDOW_BYTES) {
                windows.acquire();
                file.asSlice(from, Math.min(WINDOW_BYTES, file.byteSize() - from)).load();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // closed
        }
    }

    /// Says that the bytes up to `offset` have been copied.
    void reached(long offset) {
        while (released + WINDOW_BYTES <= offset) {
            released += WINDOW_BYTES;
            windows.release();
        }
    }

    /// Waits until it no longer touches the file.
    @Override
    public void close() {
        thread.interrupt();
        boolean interrupted = false;
        while (true) {
            try {
                thread.join();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
