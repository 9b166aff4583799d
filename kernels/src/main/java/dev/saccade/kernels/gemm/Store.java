package dev.saccade.kernels.gemm;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// Where a tile's chains start from and where they go: the epilogues, on a tile of finished sums
/// that is still in the first cache.
final class Store {
    private static final float[] ZEROS = new float[RegisterTile.FLOATS];
    private static final int FLOAT = Float.BYTES;

    private enum Kind {
        PLAIN,
        ACCUMULATE,
        GELU,
        RESIDUAL,
        GELU_BACKWARD,
        SWI_GLU
    }

    private final Kind kind;
    private final int n;
    private final long c;
    // Addresses; 0 where the operand is absent.
    private final long bias;
    private final long sum; // receives s + bias; the gate's product for SWI_GLU
    private final long residual; // the pre-activation for GELU_BACKWARD
    private final long scale;
    private final long up;

    private Store(
            Kind kind, int n, long c, long bias, long sum, long residual, long scale, long up) {
        this.kind = kind;
        this.n = n;
        this.c = c;
        this.bias = bias;
        this.sum = sum;
        this.residual = residual;
        this.scale = scale;
        this.up = up;
    }

    /// The store of a product [m, n] to `c`.
    static Store of(Epilogue epilogue, Span c, int m, int n) {
        long elements = (long) m * n;
        long to = c.require("c", DType.F32, elements);
        return switch (epilogue) {
            case Epilogue.Store() -> new Store(Kind.PLAIN, n, to, 0, 0, 0, 0, 0);
            case Epilogue.Accumulate() -> new Store(Kind.ACCUMULATE, n, to, 0, 0, 0, 0, 0);
            case Epilogue.Bias(Span bias) ->
                    new Store(Kind.PLAIN, n, to, address("bias", bias, n), 0, 0, 0, 0);
            case Epilogue.BiasGelu(Span bias, Span preActivation) ->
                    new Store(
                            Kind.GELU,
                            n,
                            to,
                            address("bias", bias, n),
                            address("preActivation", preActivation, elements),
                            0,
                            0,
                            0);
            case Epilogue.Residual(Span residual, Span bias, Span scale, Span branch) ->
                    new Store(
                            Kind.RESIDUAL,
                            n,
                            to,
                            address("bias", bias, n),
                            address("branch", branch, elements),
                            address("residual", residual, elements),
                            address("scale", scale, n),
                            0);
            case Epilogue.GeluBackward(Span preActivation) ->
                    new Store(
                            Kind.GELU_BACKWARD,
                            n,
                            to,
                            0,
                            0,
                            address("preActivation", preActivation, elements),
                            0,
                            0);
        };
    }

    /// The store of two products [m, n], of which [Gemm#swiGlu] makes one.
    static Store swiGlu(Span out, @Nullable Span gate, @Nullable Span up, int m, int n) {
        long elements = (long) m * n;
        return new Store(
                Kind.SWI_GLU,
                n,
                out.require("out", DType.F32, elements),
                0,
                address("gate", gate, elements),
                0,
                0,
                address("up", up, elements));
    }

    private static long address(String operand, @Nullable Span span, long elements) {
        return span == null ? 0 : span.require(operand, DType.F32, elements);
    }

    /// The values that the chains of a tile start from: zeros, or C's old values, for which `tile`
    /// is used.
    float[] start(float[] tile, int row, int rows, int column, int columns) {
        if (kind != Kind.ACCUMULATE) {
            return ZEROS;
        }
        for (int r = 0; r < rows; r++) {
            long from = c + offset(row + r, column);
            int to = r * RegisterTile.COLUMNS;
            for (int j = 0; j < columns; j += LENGTH) {
                load(from + (long) j * FLOAT, columns - j).intoArray(tile, to + j);
            }
        }
        return tile;
    }

    /// Takes finished sums through the epilogue.
    ///
    /// @param other the sums of the second product, for [#swiGlu]
    void finish(float[] tile, float[] other, int row, int rows, int column, int columns) {
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < columns; j += LENGTH) {
                int at = r * RegisterTile.COLUMNS + j;
                FloatVector s = FloatVector.fromArray(SPECIES, tile, at);
                long to = offset(row + r, column + j);
                long perColumn = (long) (column + j) * FLOAT;
                int count = columns - j;
                switch (kind) {
                    case PLAIN, ACCUMULATE -> plain(s, to, perColumn, count);
                    case GELU -> gelu(s, to, perColumn, count);
                    case RESIDUAL -> residual(s, to, perColumn, count);
                    case GELU_BACKWARD -> geluBackward(s, to, count);
                    case SWI_GLU -> swiGlu(s, FloatVector.fromArray(SPECIES, other, at), to, count);
                }
            }
        }
    }

    private void plain(FloatVector s, long to, long perColumn, int count) {
        store(withBias(s, perColumn, count), c + to, count);
    }

    private void gelu(FloatVector s, long to, long perColumn, int count) {
        FloatVector z = withBias(s, perColumn, count);
        if (sum != 0) {
            store(z, sum + to, count);
        }
        store(VectorMath.gelu(z), c + to, count);
    }

    private void residual(FloatVector s, long to, long perColumn, int count) {
        FloatVector z = withBias(s, perColumn, count);
        if (sum != 0) {
            store(z, sum + to, count);
        }
        FloatVector base = load(residual + to, count);
        FloatVector y = scale == 0 ? base.add(z) : load(scale + perColumn, count).fma(z, base);
        store(y, c + to, count);
    }

    private void geluBackward(FloatVector s, long to, int count) {
        FloatVector slope = VectorMath.geluDerivative(load(residual + to, count));
        store(s.mul(slope), c + to, count);
    }

    private void swiGlu(FloatVector g, FloatVector u, long to, int count) {
        if (sum != 0) {
            store(g, sum + to, count);
        }
        if (up != 0) {
            store(u, up + to, count);
        }
        store(VectorMath.silu(g).mul(u), c + to, count);
    }

    private FloatVector withBias(FloatVector s, long perColumn, int count) {
        return bias == 0 ? s : s.add(load(bias + perColumn, count));
    }

    private long offset(int row, int column) {
        return ((long) row * n + column) * FLOAT;
    }

    private static FloatVector load(long address, int count) {
        if (count >= LENGTH) {
            return Lanes.load(address);
        }
        VectorMask<Float> mask = Lanes.first(count);
        return Lanes.load(address, mask);
    }

    private static void store(FloatVector vector, long address, int count) {
        if (count >= LENGTH) {
            Lanes.store(vector, address);
        } else {
            Lanes.store(vector, address, Lanes.first(count));
        }
    }
}
