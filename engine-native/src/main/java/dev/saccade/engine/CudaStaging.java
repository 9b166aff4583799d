package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// The way of ordinary host memory to and from a CUDA device, through pinned memory.
///
/// Uploads go through a ring of chunks. A small upload is copied behind the one before it in the
/// current chunk and returns at once; an event behind the last copy from a chunk says when it may
/// be filled again. A large one fills chunk after chunk while the copies of the earlier ones are
/// under way. Downloads alternate between two chunks of their own.
///
/// The chunks are made at the first use.
final class CudaStaging {
    static final int CHUNK_BYTES = 4 << 20;
    private static final int UPLOAD_CHUNKS = 4;
    private static final int DOWNLOAD_CHUNKS = 2;

    private final CudaContext context;
    private final Stream stream;
    private final @Nullable Chunk[] uploads = new Chunk[UPLOAD_CHUNKS];
    private final @Nullable Chunk[] downloads = new Chunk[DOWNLOAD_CHUNKS];
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
            context.check(
                    context.driver.cuMemcpyHtoDAsync(target + done, staged, part, stream.handle()),
                    "cuMemcpyHtoDAsync");
            done += part;
            // Copies of the driver are fastest from the beginning of a cache line.
            position = Math.min(CHUNK_BYTES, Math.ceilDiv(position + part, 64L) * 64);
            if (position == CHUNK_BYTES) {
                chunk.used.record();
                current = (current + 1) % UPLOAD_CHUNKS;
                position = 0;
                chunk(uploads, current).used.synchronize();
            }
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
