package dev.saccade.tensor;

import java.util.Arrays;

/// The extents of a tensor, outermost first; the last is contiguous in memory.
public final class Shape {
    private final long[] dims;

    private Shape(long[] dims) {
        this.dims = dims;
    }

    /// A shape of these extents, each at least 0.
    public static Shape of(long... dims) {
        for (long dim : dims) {
            if (dim < 0) {
                throw new IllegalArgumentException("a shape of " + Arrays.toString(dims));
            }
        }
        return new Shape(dims.clone());
    }

    /// How many dimensions.
    public int rank() {
        return dims.length;
    }

    /// The extent of dimension `i`.
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

    /// The extent of the last dimension; 1 for a scalar.
    public int width() {
        return dims.length == 0 ? 1 : Math.toIntExact(dims[dims.length - 1]);
    }

    /// The product of all extents but the last.
    public int rows() {
        long product = 1;
        for (int i = 0; i + 1 < dims.length; i++) {
            product = Math.multiplyExact(product, dims[i]);
        }
        return Math.toIntExact(product);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Shape shape && Arrays.equals(dims, shape.dims);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(dims);
    }

    @Override
    public String toString() {
        return Arrays.toString(dims);
    }
}
