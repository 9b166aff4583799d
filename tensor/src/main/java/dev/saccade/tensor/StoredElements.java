package dev.saccade.tensor;

import dev.saccade.engine.UploadSource;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.elementwise.HalfFloat;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/// Floating-point elements of a file on their way to a device, converted to its type where they are
/// wanted: the threads of the upload read and convert, each a piece that stays in its cache.
///
/// @param bytes of the file, from the first element on
/// @param from F64, F32, F16 or BF16
/// @param to F32, F16 or BF16
record StoredElements(UploadSource bytes, String from, DType to) implements UploadSource {
    /// What a thread reads at once: half of what the second-level cache of a core holds.
    static final int PIECE_BYTES = 1 << 18;

    private static final ValueLayout.OfDouble F64 =
            ValueLayout.JAVA_DOUBLE.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// A thread's piece: the threads of a device are few and live as long as it does.
    private static final ThreadLocal<MemorySegment> PIECE =
            ThreadLocal.withInitial(() ->
                    MemorySegment.ofBuffer(
                            ByteBuffer.allocateDirect(PIECE_BYTES + UploadSource.ALIGNMENT)
                                    .alignedSlice(UploadSource.ALIGNMENT)));

    @Override
    public void read(long offset, MemorySegment part) {
        int width = from.equals("F64") ? Double.BYTES : DType.valueOf(from).bytes();
        long first = offset / to.bytes();
        long elements = part.byteSize() / to.bytes();
        int most = PIECE_BYTES / width;
        for (long done = 0; done < elements; done += most) {
            long count = Math.min(most, elements - done);
            MemorySegment raw = PIECE.get().asSlice(0, count * width);
            bytes.read((first + done) * width, raw);
            convert(raw, count, part.asSlice(done * to.bytes(), count * to.bytes()));
        }
    }

    private void convert(MemorySegment raw, long count, MemorySegment into) {
        if (!from.equals("F64")) {
            HalfFloat.convert(DType.valueOf(from), raw, to, into);
            return;
        }
        // In place: a float is written where no double is read any more.
        for (long i = 0; i < count; i++) {
            raw.set(
                    ValueLayout.JAVA_FLOAT,
                    Float.BYTES * i,
                    (float) raw.get(F64, Double.BYTES * i));
        }
        MemorySegment floats = raw.asSlice(0, count * Float.BYTES);
        if (to == DType.F32) {
            into.copyFrom(floats);
        } else {
            HalfFloat.convert(DType.F32, floats, to, into);
        }
    }
}
