package dev.saccade.tensor;

import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// Numbers on a device: a type, a shape, and memory that belongs to a [Tape] or a [Parameter] and
/// is gone when that closes. Contiguous, row-major.
///
/// Two tensors may show the same memory ([#view(long...)], [#slice(long, long)]). They then also
/// share one gradient: what is added to the gradient of a view or slice arrives at the tensor that
/// it was taken from.
public final class Tensor {
    private final Span span;
    private final Shape shape;
    private final @Nullable Tensor base;
    private boolean requiresGrad;

    Tensor(Span span, Shape shape, boolean requiresGrad) {
        this(span, shape, null, requiresGrad);
    }

    private Tensor(Span span, Shape shape, @Nullable Tensor base, boolean requiresGrad) {
        this.span = span;
        this.shape = shape;
        this.base = base;
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

    /// The memory, as kernels take it.
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

    /// Whether a backward pass computes the gradient of this tensor: whether a trainable parameter
    /// or a [Tape#variable(float[], long...)] went into it on a recording tape.
    public boolean requiresGrad() {
        return requiresGrad;
    }

    void requireGrad() {
        requiresGrad = true;
    }

    /// The same elements in another shape.
    ///
    /// @throws IllegalArgumentException when the shapes differ in their number of elements
    public Tensor view(long... dims) {
        Shape other = Shape.of(dims);
        if (other.elements() != shape.elements()) {
            throw new IllegalArgumentException("a view of " + shape + " as " + other);
        }
        return new Tensor(span, other, root(), requiresGrad);
    }

    /// The entries `fromRow` to `fromRow + rowCount` of dimension 0, in the same memory.
    ///
    /// @throws IndexOutOfBoundsException when there are not so many
    public Tensor slice(long fromRow, long rowCount) {
        Shape other = shape.withFirst(rowCount);
        long all = shape.dim(0);
        if (fromRow < 0 || rowCount > all - fromRow) {
            throw new IndexOutOfBoundsException(
                    "rows %d to %d of %s".formatted(fromRow, fromRow + rowCount, shape));
        }
        long stride = all == 0 ? 0 : shape.elements() / all;
        return new Tensor(
                span.slice(fromRow * stride, rowCount * stride), other, root(), requiresGrad);
    }

    /// The tensor that this is a view or slice of, or itself.
    Tensor root() {
        return base == null ? this : base;
    }

    /// Copies the elements of another tensor of this type and number of elements into this one.
    public void copyFrom(Tensor source) {
        if (source.dtype() != dtype() || source.shape.elements() != shape.elements()) {
            throw new IllegalArgumentException("a copy of " + source + " into " + this);
        }
        int bytes = dtype().bytes();
        device().copy(
                        source.span.buffer(),
                        source.span.offset() * bytes,
                        span.buffer(),
                        span.offset() * bytes,
                        span.bytes());
    }

    /// Downloads the elements of an F32, BF16 or F16 tensor.
    public float[] toFloats() {
        float[] values = new float[Math.toIntExact(shape.elements())];
        switch (dtype()) {
            case F32 -> download(MemorySegment.ofArray(values));
            case BF16, F16 -> {
                short[] halves = new short[values.length];
                download(MemorySegment.ofArray(halves));
                HostFloats.decode(halves, dtype(), values);
            }
            default ->
                    throw new IllegalStateException("a tensor of " + dtype() + " read as floats");
        }
        return values;
    }

    /// Downloads the elements of an I32 tensor.
    public int[] toInts() {
        if (dtype() != DType.I32) {
            throw new IllegalStateException("a tensor of " + dtype() + " read as I32");
        }
        int[] values = new int[Math.toIntExact(shape.elements())];
        download(MemorySegment.ofArray(values));
        return values;
    }

    private void download(MemorySegment target) {
        device().download(span.buffer(), span.offset() * dtype().bytes(), target);
    }

    /// As `F32 [2, 3]`.
    @Override
    public String toString() {
        return dtype() + " " + shape;
    }
}
