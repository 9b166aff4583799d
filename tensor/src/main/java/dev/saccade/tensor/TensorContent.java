package dev.saccade.tensor;

import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// A tensor on its way into a file: what it is, and its bytes when they are asked for. Nothing of
/// it need be in memory before.
public interface TensorContent {

    /// The format's name of the type: `F32`, `BF16`, ...
    String dtype();

    /// The extents.
    Shape shape();

    /// The size in bytes.
    long bytes();

    /// Writes the elements, row-major and little-endian.
    void writeTo(OutputStream out) throws IOException;

    /// A tensor on a device.
    static TensorContent of(Tensor tensor) {
        return new DeviceContent(tensor);
    }

    /// Tensors of one type stacked along their first dimension, as a fused projection is.
    ///
    /// @param parts alike in type and in all extents but the first
    /// @throws IllegalArgumentException when they are not
    static TensorContent stacked(List<TensorContent> parts) {
        return parts.size() == 1 ? parts.getFirst() : StackedContent.of(parts);
    }

    /// Downloads piece by piece.
    record DeviceContent(Tensor tensor) implements TensorContent {
        private static final int CHUNK_BYTES = 8 << 20;

        @Override
        public String dtype() {
            return tensor.dtype().name();
        }

        @Override
        public Shape shape() {
            return tensor.shape();
        }

        @Override
        public long bytes() {
            return tensor.span().bytes();
        }

        @Override
        public void writeTo(OutputStream out) throws IOException {
            long start = tensor.span().offset() * tensor.dtype().bytes();
            byte[] chunk = new byte[(int) Math.min(CHUNK_BYTES, bytes())];
            for (long from = 0; from < bytes(); from += chunk.length) {
                int count = (int) Math.min(chunk.length, bytes() - from);
                tensor.device()
                        .download(
                                tensor.span().buffer(),
                                start + from,
                                MemorySegment.ofArray(chunk).asSlice(0, count));
                out.write(chunk, 0, count);
            }
        }
    }

    /// One part behind the other.
    record StackedContent(List<TensorContent> parts, Shape shape) implements TensorContent {
        static StackedContent of(List<TensorContent> parts) {
            TensorContent first = parts.getFirst();
            long rows = 0;
            for (TensorContent part : parts) {
                if (!part.dtype().equals(first.dtype())
                        || !part.shape().withFirst(0).equals(first.shape().withFirst(0))) {
                    throw new IllegalArgumentException(
                            "%s %s stacked on %s %s"
                                    .formatted(
                                            part.dtype(),
                                            part.shape(),
                                            first.dtype(),
                                            first.shape()));
                }
                rows += part.shape().dim(0);
            }
            return new StackedContent(List.copyOf(parts), first.shape().withFirst(rows));
        }

        @Override
        public String dtype() {
            return parts.getFirst().dtype();
        }

        @Override
        public long bytes() {
            return parts.stream().mapToLong(TensorContent::bytes).sum();
        }

        @Override
        public void writeTo(OutputStream out) throws IOException {
            for (TensorContent part : parts) {
                part.writeTo(out);
            }
        }
    }
}
