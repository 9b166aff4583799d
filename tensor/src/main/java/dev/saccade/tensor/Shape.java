package dev.saccade.tensor;

import java.util.Arrays;

/// The extents of a tensor, outermost first. Memory is row-major, so the last extent is the
/// contiguous one.
public final class Shape {
    private final long[] dims;

    private Shape(long[] dims) {
        this.dims = dims;
    }

    /// A shape of these extents; none at all is a scalar.
    ///
    /// @throws IllegalArgumentException when an extent is negative
    /// @throws ArithmeticException when the number of elements is more than a long holds
    public static Shape of(long... dims) {
        for (long dim : dims) {
            if (dim < 0) {
                throw new IllegalArgumentException("a shape of " + Arrays.toString(dims));
            }
        }
        Shape shape = new Shape(dims.clone());
        shape.elements();
        return shape;
    }

    /// How many dimensions.
    public int rank() {
        return dims.length;
    }

    /// The extent of dimension `i`, 0 being the outermost.
    public long dim(int i) {
        return dims[i];
    }

    /// How many elements.
    public long elements() {
        long product = 1;
        for (long dim : dims) {
            product = Math.multiplyExact(product, dim);
        }
        return product;
    }

    /// The last extent; 1 for a scalar.
    public int width() {
        return dims.length == 0 ? 1 : Math.toIntExact(dims[dims.length - 1]);
    }

    /// The product of all extents but the last: the rows of the matrix that kernels see.
    public int rows() {
        long product = 1;
        for (int i = 0; i + 1 < dims.length; i++) {
            product = Math.multiplyExact(product, dims[i]);
        }
        return Math.toIntExact(product);
    }

    /// A copy of the extents.
    public long[] dims() {
        return dims.clone();
    }

    /// This shape with another last extent.
    Shape withWidth(long width) {
        if (dims.length == 0) {
            throw new IllegalArgumentException("a scalar has no rows");
        }
        long[] other = dims.clone();
        other[other.length - 1] = width;
        return of(other);
    }

    /// This shape with another first extent.
    public Shape withFirst(long first) {
        if (dims.length == 0) {
            throw new IllegalArgumentException("a scalar has no rows");
        }
        long[] other = dims.clone();
        other[0] = first;
        return of(other);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Shape shape && Arrays.equals(dims, shape.dims);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(dims);
    }

    /// As `[2, 3]`.
    @Override
    public String toString() {
        return Arrays.toString(dims);
    }
}
