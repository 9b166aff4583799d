package dev.saccade.kernels.gemm;

import static dev.saccade.kernels.internal.Lanes.LENGTH;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// Where a register tile starts from and where it goes: the epilogues, on a finished tile of sums that
/// lies in scratch memory, two vectors a row.
final class Store {
    private static final int COLUMNS = 2 * LENGTH;
    private static final int FLOAT = Float.BYTES;

    private enum Kind {
        STORE,
        ACCUMULATE,
        BIAS,
        BIAS_GELU,
        RESIDUAL
    }

    private final Kind kind;
    private final long c;
    private final int n;
    private final long bias;
    private final long extra;
    private final long residual;
    private final long scale;

    private Store(Kind kind, long c, int n, long bias, long extra, long residual, long scale) {
        this.kind = kind;
        this.c = c;
        this.n = n;
        this.bias = bias;
        this.extra = extra;
        this.residual = residual;
        this.scale = scale;
    }

    static Store of(Epilogue epilogue, long c, int m, int n) {
        long elements = (long) m * n;
        return switch (epilogue) {
            case Epilogue.Store() -> new Store(Kind.STORE, c, n, 0, 0, 0, 0);
            case Epilogue.Accumulate() -> new Store(Kind.ACCUMULATE, c, n, 0, 0, 0, 0);
            case Epilogue.Bias(Span b) ->
                    new Store(Kind.BIAS, c, n, b.require("bias", DType.F32, n), 0, 0, 0);
            case Epilogue.BiasGelu(Span b, Span pre) ->
                    new Store(
                            Kind.BIAS_GELU,
                            c,
                            n,
                            b.require("bias", DType.F32, n),
                            address("preActivation", pre, elements),
                            0,
                            0);
            case Epilogue.Residual(Span r, Span b, Span s, Span branch) ->
                    new Store(
                            Kind.RESIDUAL,
                            c,
                            n,
                            address("bias", b, n),
                            address("branch", branch, elements),
                            r.require("residual", DType.F32, elements),
                            address("scale", s, n));
        };
    }

    private static long address(String operand, @Nullable Span span, long elements) {
        return span == null ? 0 : span.require(operand, DType.F32, elements);
    }

    /// Puts the chains' first values in `tile`.
    void begin(long tile, int row, int rows, int column, int columns) {
        FloatVector zero = FloatVector.zero(Lanes.SPECIES);
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < COLUMNS; j += LENGTH) {
                long at = tile + ((long) r * COLUMNS + j) * FLOAT;
                if (kind == Kind.ACCUMULATE && j < columns) {
                    VectorMask<Float> mask = Lanes.first(columns - j);
                    Lanes.store(Lanes.load(c + offset(row + r, column + j), mask), at);
                } else {
                    Lanes.store(zero, at);
                }
            }
        }
    }

    private long offset(int row, int column) {
        return ((long) row * n + column) * FLOAT;
    }

    /// Takes the finished sums from `tile` through the epilogue to C.
    void end(long tile, int row, int rows, int column, int columns) {
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < columns; j += LENGTH) {
                FloatVector sum = Lanes.load(tile + ((long) r * COLUMNS + j) * FLOAT);
                long at = offset(row + r, column + j);
                if (columns - j >= LENGTH) {
                    whole(sum, at, column + j);
                } else {
                    part(sum, at, column + j, Lanes.first(columns - j));
                }
            }
        }
    }

    private void whole(FloatVector sum, long at, int column) {
        FloatVector z = sum;
        if (bias != 0) {
            z = z.add(Lanes.load(bias + (long) column * FLOAT));
        }
        if (extra != 0) {
            Lanes.store(z, extra + at);
        }
        switch (kind) {
            case STORE, ACCUMULATE, BIAS -> Lanes.store(z, c + at);
            case BIAS_GELU -> Lanes.store(VectorMath.gelu(z), c + at);
            case RESIDUAL -> {
                FloatVector base = Lanes.load(residual + at);
                Lanes.store(
                        scale == 0
                                ? base.add(z)
                                : Lanes.load(scale + (long) column * FLOAT).fma(z, base),
                        c + at);
            }
        }
    }

    private void part(FloatVector sum, long at, int column, VectorMask<Float> mask) {
        FloatVector z = sum;
        if (bias != 0) {
            z = z.add(Lanes.load(bias + (long) column * FLOAT, mask));
        }
        if (extra != 0) {
            Lanes.store(z, extra + at, mask);
        }
        switch (kind) {
            case STORE, ACCUMULATE, BIAS -> Lanes.store(z, c + at, mask);
            case BIAS_GELU -> Lanes.store(VectorMath.gelu(z), c + at, mask);
            case RESIDUAL -> {
                FloatVector base = Lanes.load(residual + at, mask);
                Lanes.store(
                        scale == 0
                                ? base.add(z)
                                : Lanes.load(scale + (long) column * FLOAT, mask).fma(z, base),
                        c + at,
                        mask);
            }
        }
    }
}
