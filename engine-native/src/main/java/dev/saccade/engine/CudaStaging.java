package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;

/// The way of ordinary host memory to and from a CUDA device, through pinned memory.
///
/// Uploads go through a ring of chunks. A small upload is copied behind the one before it in the
/// current chunk and returns at once; an event behind the last copy from a chunk says when it may
/// be filled again. A large one fills chunk after chunk while the copies of the earlier ones are
/// under way. A source that makes its bytes itself fills several chunks at once, on threads of this
/// class: one thread reads a file more slowly than the device takes it. These threads write to
/// pinned memory and do nothing else; every call of the driver stays on the thread that owns the
/// context, and the copies keep their order. Downloads alternate between two chunks of their own.
///
/// The chunks and the threads are made at the first use.
final class CudaStaging implements AutoCloseable {
    static final int CHUNK_BYTES = 4 << 20;
    private static final int UPLOAD_CHUNKS = 8;

    /// What a thread fills at once, so that a tensor of a few megabytes keeps all of them busy.
    static final int FILL_BYTES = 1 << 20;

    /// The most threads that fill: with about 5 GB/s for each, more than the bus takes.
    private static final int MOST_FILLERS = 6;

    /// Chunks that are being filled at the same time; the others are on their way to the device.
    private static final int FILLING_CHUNKS = UPLOAD_CHUNKS - 2;

    private static final int DOWNLOAD_CHUNKS = 2;

    private final CudaContext context;
    private final Stream stream;
    private final @Nullable Chunk[] uploads = new Chunk[UPLOAD_CHUNKS];
    private final @Nullable Chunk[] downloads = new Chunk[DOWNLOAD_CHUNKS];
    private @Nullable ExecutorService fillers;
    private int current;
    private long position;

    CudaStaging(CudaContext context, Stream stream) {
        this.context = context;
        this.stream = stream;
    }

    /// Pinned memory and the end of its last use.
    private final class Chunk {
        final PinnedBuffer memory = new PinnedBuffer(context, CHUNK_BYTES);
        final Event used = new Event(context, stream, CudaDriver.EVENT_DISABLE_TIMING);

        MemorySegment slice(long offset, long bytes) {
            return memory.segment().asSlice(offset, bytes);
        }
    }

    void upload(MemorySegment source, long target) {
        long bytes = source.byteSize();
        for (long done = 0; done < bytes; ) {
            Chunk chunk = chunk(uploads, current);
            long part = Math.min(bytes - done, CHUNK_BYTES - position);
            MemorySegment staged = chunk.slice(position, part);
            MemorySegment.copy(source, done, staged, 0, part);
            send(staged, target + done);
            done += part;
            advance(part);
        }
    }

    private void send(MemorySegment staged, long target) {
        context.check(
                context.driver.cuMemcpyHtoDAsync(
                        target, staged, staged.byteSize(), stream.handle()),
                "cuMemcpyHtoDAsync");
    }

    /// Moves on behind `part` bytes of the current chunk that have been sent.
    private void advance(long part) {
        // Copies of the driver are fastest from the beginning of a cache line.
        position = Math.min(CHUNK_BYTES, Math.ceilDiv(position + part, 64L) * 64);
        if (position == CHUNK_BYTES) {
            finishChunk();
        }
    }

    /// Leaves the current chunk to the copies from it, and waits until the next one is free.
    private void finishChunk() {
        chunk(uploads, current).used.record();
        current = (current + 1) % UPLOAD_CHUNKS;
        position = 0;
        chunk(uploads, current).used.synchronize();
    }

    /// A part of a source that is being written to a chunk.
    private record Filling(MemorySegment staged, List<Future<?>> parts) {
        /// Waits for all of it, also when the owner is interrupted or a part has failed: until then
        /// the chunk is written to.
        ///
        /// @return what the first part that failed threw
        @Nullable Throwable await() {
            Throwable failure = null;
            boolean interrupted = false;
            for (Future<?> part : parts) {
                while (true) {
                    try {
                        part.get();
                        break;
                    } catch (InterruptedException e) {
                        interrupted = true;
                    } catch (ExecutionException e) {
                        failure = failure == null ? e.getCause() : failure;
                        break;
                    }
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            return failure;
        }
    }

    /// As [#upload(MemorySegment, long)], from a source that several threads read.
    void upload(UploadSource source, long bytes, long target) {
        if (bytes <= FILL_BYTES) {
            uploadHere(source, bytes, target);
            return;
        }
        if (position > 0) {
            finishChunk();
        }
        // The chunks from `current` on are filled; the oldest of them is sent first.
        Deque<Filling> filling = new ArrayDeque<>();
        long begun = 0;
        long sent = 0;
        try {
            while (sent < bytes) {
                while (begun < bytes && filling.size() < FILLING_CHUNKS) {
                    Chunk chunk = chunk(uploads, (current + filling.size()) % UPLOAD_CHUNKS);
                    chunk.used.synchronize();
                    MemorySegment staged = chunk.slice(0, Math.min(CHUNK_BYTES, bytes - begun));
                    filling.add(fill(source, begun, staged));
                    begun += staged.byteSize();
                }
                Filling oldest = filling.element();
                rethrow(oldest.await());
                filling.remove();
                send(oldest.staged(), target + sent);
                sent += oldest.staged().byteSize();
                finishChunk();
            }
        } finally {
            filling.forEach(Filling::await);
        }
    }

    /// A small upload: waking a thread would take longer.
    private void uploadHere(UploadSource source, long bytes, long target) {
        if (bytes == 0) {
            return;
        }
        if (bytes > CHUNK_BYTES - position) {
            finishChunk();
        }
        MemorySegment staged = chunk(uploads, current).slice(position, bytes);
        source.read(0, staged);
        send(staged, target);
        advance(bytes);
    }

    private Filling fill(UploadSource source, long offset, MemorySegment staged) {
        List<Future<?>> parts = new ArrayList<>();
        for (long from = 0; from < staged.byteSize(); from += FILL_BYTES) {
            MemorySegment part =
                    staged.asSlice(from, Math.min(FILL_BYTES, staged.byteSize() - from));
            long at = offset + from;
            parts.add(fillers().submit(() -> source.read(at, part)));
        }
        return new Filling(staged, parts);
    }

    private ExecutorService fillers() {
        ExecutorService running = fillers;
        if (running == null) {
            int threads = Math.clamp(Runtime.getRuntime().availableProcessors(), 1, MOST_FILLERS);
            running =
                    Executors.newFixedThreadPool(
                            threads,
                            Thread.ofPlatform().daemon().name("saccade-upload-", 0).factory());
            fillers = running;
        }
        return running;
    }

    private static void rethrow(@Nullable Throwable failure) {
        switch (failure) {
            case null -> {}
            case RuntimeException e -> throw e;
            case Error e -> throw e;
            default -> throw new IllegalStateException(failure);
        }
    }

    /// Ends the threads; none of them is at work.
    @Override
    public void close() {
        if (fillers != null) {
            fillers.shutdown();
        }
    }

    /// Copies all of `target` from the device.
    ///
    /// @param arrived is called once, when the work before the download has finished and before
    ///   anything is written to `target`; it may throw
    void download(long source, MemorySegment target, Runnable arrived) {
        long bytes = target.byteSize();
        long requested = 0;
        for (long done = 0; done < bytes; ) {
            while (requested < bytes && requested - done < (long) DOWNLOAD_CHUNKS * CHUNK_BYTES) {
                Chunk chunk = downloadChunk(requested);
                long part = Math.min(bytes - requested, CHUNK_BYTES);
                context.check(
                        context.driver.cuMemcpyDtoHAsync(
                                chunk.slice(0, part), source + requested, part, stream.handle()),
                        "cuMemcpyDtoHAsync");
                chunk.used.record();
                requested += part;
            }
            Chunk chunk = downloadChunk(done);
            long part = Math.min(bytes - done, CHUNK_BYTES);
            chunk.used.synchronize();
            if (done == 0) {
                arrived.run();
            }
            MemorySegment.copy(chunk.slice(0, part), 0, target, done, part);
            done += part;
        }
    }

    private Chunk downloadChunk(long offset) {
        return chunk(downloads, (int) (offset / CHUNK_BYTES % DOWNLOAD_CHUNKS));
    }

    private Chunk chunk(@Nullable Chunk[] chunks, int index) {
        Chunk chunk = chunks[index];
        if (chunk == null) {
            chunk = new Chunk();
            chunks[index] = chunk;
        }
        return chunk;
    }
}
