package dev.saccade.tensor;

import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;

/// Numbers on a device: a type, a shape, and memory that belongs to a [Tape] or a [Parameter].
/// Contiguous, row-major.
public final class Tensor {
    private final Span span;
    private final Shape shape;
    private final boolean requiresGrad;

    Tensor(Span span, Shape shape, boolean requiresGrad) {
        this.span = span;
        this.shape = shape;
        this.requiresGrad = requiresGrad;
    }

    /// The extents.
    public Shape shape() {
        return shape;
    }

    /// The elements' type.
    public DType dtype() {
        return span.dtype();
    }

    /// Where the memory is.
    public Device device() {
        return span.device();
    }

    /// The memory.
    public Span span() {
        return span;
    }

    /// The product of all extents but the last.
    public int rows() {
        return shape.rows();
    }

    /// The last extent.
    public int width() {
        return shape.width();
    }

    /// Whether a gradient is computed for it.
    public boolean requiresGrad() {
        return requiresGrad;
    }

    /// The same memory with another shape; it takes no part in the backward pass.
    public Tensor view(long... dims) {
        Shape other = Shape.of(dims);
        if (other.elements() != shape.elements()) {
            throw new IllegalArgumentException("a view of " + shape + " as " + other);
        }
        return new Tensor(span, other, false);
    }

    /// `rowCount` rows along dimension 0, the same memory; it takes no part in the backward pass.
    public Tensor slice(long fromRow, long rowCount) {
        long stride = shape.dim(0) == 0 ? 0 : shape.elements() / shape.dim(0);
        long[] dims = new long[shape.rank()];
        dims[0] = rowCount;
        for (int i = 1; i < dims.length; i++) {
            dims[i] = shape.dim(i);
        }
        return new Tensor(
                span.slice(fromRow * stride, rowCount * stride), Shape.of(dims), false);
    }

    /// Downloads F32 elements.
    public float[] toFloats() {
        requireType(DType.F32);
        float[] values = new float[Math.toIntExact(shape.elements())];
        download(MemorySegment.ofArray(values));
        return values;
    }

    /// Downloads I32 elements.
    public int[] toInts() {
        requireType(DType.I32);
        int[] values = new int[Math.toIntExact(shape.elements())];
        download(MemorySegment.ofArray(values));
        return values;
    }

    private void requireType(DType expected) {
        if (dtype() != expected) {
            throw new IllegalStateException("a tensor of " + dtype() + " read as " + expected);
        }
    }

    private void download(MemorySegment target) {
        device().download(span.buffer(), span.offset() * dtype().bytes(), target);
    }

    @Override
    public String toString() {
        return dtype() + " " + shape;
    }
}
