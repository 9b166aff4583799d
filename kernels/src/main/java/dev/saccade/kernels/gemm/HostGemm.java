package dev.saccade.kernels.gemm;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.activation.Activation;
import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// The product on the CPU: B is packed into panels of two vectors, a register tile of 8 rows walks
/// K once, and the epilogue reads the finished tile from a scratch line in the first cache.
final class HostGemm implements Gemm {
    private static final int ROWS = 8;
    private static final int COLUMNS = 2 * LENGTH;
    private static final int FLOAT = Float.BYTES;
    private static final long TILE_BYTES = (long) ROWS * COLUMNS * FLOAT;
    private static final long DISPATCH = 1L << 16;

    private final HostDevice device;
    private final Activation activation;

    HostGemm(HostDevice device) {
        this.device = device;
        this.activation = Activation.on(device);
    }

    @Override
    public void multiply(Shape shape, Span a, Span b, Span c, Epilogue epilogue) {
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        long from = a.require("a", DType.F32, (long) m * k);
        long with = b.require("b", DType.F32, (long) k * n);
        long to = c.require("c", DType.F32, (long) m * n);
        if (m == 0 || n == 0) {
            return;
        }
        Store store = Store.of(epilogue, to, m, n);
        run(shape, from, with, store);
    }

    @Override
    public void swiGlu(
            int m,
            int n,
            int k,
            Span x,
            Span gateWeight,
            Span upWeight,
            Span out,
            @Nullable Span gate,
            @Nullable Span up) {
        long elements = (long) m * n;
        if (gate != null && up != null) {
            swiGluInto(m, n, k, x, gateWeight, upWeight, out, gate, up);
            return;
        }
        try (DeviceBuffer gateMemory = device.allocate(elements * FLOAT);
                DeviceBuffer upMemory = device.allocate(elements * FLOAT)) {
            swiGluInto(
                    m,
                    n,
                    k,
                    x,
                    gateWeight,
                    upWeight,
                    out,
                    gate != null ? gate : Span.of(gateMemory, DType.F32),
                    up != null ? up : Span.of(upMemory, DType.F32));
        }
    }

    private void swiGluInto(
            int m,
            int n,
            int k,
            Span x,
            Span gateWeight,
            Span upWeight,
            Span out,
            Span gate,
            Span up) {
        Shape shape = new Shape(Layout.NT, m, n, k);
        multiply(shape, x, gateWeight, gate, Epilogue.STORE);
        multiply(shape, x, upWeight, up, Epilogue.STORE);
        activation.swiGlu((long) m * n, gate, up, out);
    }

    private void run(Shape shape, long a, long b, Store store) {
        int m = shape.m();
        int n = shape.n();
        int panels = (n + COLUMNS - 1) / COLUMNS;
        int tiles = (m + ROWS - 1) / ROWS;
        boolean small = (long) m * n * shape.k() < DISPATCH;
        // Workers share out panels where there are enough of them, rows otherwise.
        if (small) {
            tiles(0, shape, a, b, store, 0, panels, 0, tiles);
        } else if (panels >= 2 * device.workers() || panels >= tiles) {
            device.run(
                    panels,
                    (worker, begin, end) ->
                            tiles(worker, shape, a, b, store, begin, end, 0, tiles));
        } else {
            device.run(
                    tiles,
                    (worker, begin, end) ->
                            tiles(worker, shape, a, b, store, 0, panels, begin, end));
        }
    }

    private void tiles(
            int worker,
            Shape shape,
            long a,
            long b,
            Store store,
            int panelBegin,
            int panelEnd,
            int tileBegin,
            int tileEnd) {
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        boolean transposedA = shape.layout() == Layout.TN;
        long rowStride = transposedA ? FLOAT : (long) k * FLOAT;
        long stepStride = transposedA ? (long) m * FLOAT : FLOAT;
        long scratch = device.scratch(worker, TILE_BYTES + (long) k * COLUMNS * FLOAT);
        long panel = scratch + TILE_BYTES;
        for (int p = panelBegin; p < panelEnd; p++) {
            int column = p * COLUMNS;
            int columns = Math.min(COLUMNS, n - column);
            pack(shape, b, column, columns, panel);
            for (int t = tileBegin; t < tileEnd; t++) {
                int row = t * ROWS;
                int rows = Math.min(ROWS, m - row);
                store.begin(scratch, row, rows, column, columns);
                if (rows == ROWS) {
                    tile8(a + row * rowStride, rowStride, stepStride, panel, k, scratch);
                } else {
                    for (int r = 0; r < rows; r++) {
                        tile1(
                                a + (row + r) * rowStride,
                                stepStride,
                                panel,
                                k,
                                scratch + (long) r * COLUMNS * FLOAT);
                    }
                }
                store.end(scratch, row, rows, column, columns);
            }
        }
    }

    /// Copies B's columns to `panel`, k-major, zeros beyond the last column.
    private static void pack(Shape shape, long b, int column, int columns, long panel) {
        int k = shape.k();
        int n = shape.n();
        if (shape.layout() == Layout.NT) {
            for (int j = 0; j < COLUMNS; j++) {
                long to = panel + (long) j * FLOAT;
                if (j < columns) {
                    long from = b + (long) (column + j) * k * FLOAT;
                    for (int i = 0; i < k; i++) {
                        Lanes.set(to + (long) i * COLUMNS * FLOAT, Lanes.get(from + (long) i * FLOAT));
                    }
                } else {
                    for (int i = 0; i < k; i++) {
                        Lanes.set(to + (long) i * COLUMNS * FLOAT, 0);
                    }
                }
            }
            return;
        }
        VectorMask<Float> low = Lanes.first(columns);
        VectorMask<Float> high = Lanes.first(Math.max(0, columns - LENGTH));
        for (int i = 0; i < k; i++) {
            long from = b + ((long) i * n + column) * FLOAT;
            long to = panel + (long) i * COLUMNS * FLOAT;
            if (columns == COLUMNS) {
                Lanes.store(Lanes.load(from), to);
                Lanes.store(Lanes.load(from + LENGTH * FLOAT), to + LENGTH * FLOAT);
            } else {
                Lanes.store(Lanes.load(from, low), to);
                FloatVector rest =
                        columns > LENGTH
                                ? Lanes.load(from + LENGTH * FLOAT, high)
                                : FloatVector.zero(SPECIES);
                Lanes.store(rest, to + LENGTH * FLOAT);
            }
        }
    }

    private static void tile1(long a, long stepStride, long panel, int k, long out) {
        FloatVector c0 = Lanes.load(out);
        FloatVector c1 = Lanes.load(out + LENGTH * FLOAT);
        for (int i = 0; i < k; i++) {
            long line = panel + (long) i * COLUMNS * FLOAT;
            FloatVector x = FloatVector.broadcast(SPECIES, Lanes.get(a));
            c0 = x.fma(Lanes.load(line), c0);
            c1 = x.fma(Lanes.load(line + LENGTH * FLOAT), c1);
            a += stepStride;
        }
        Lanes.store(c0, out);
        Lanes.store(c1, out + LENGTH * FLOAT);
    }

    private static void tile8(long a, long rowStride, long stepStride, long panel, int k, long out) {
        long a0 = a + 0 * rowStride;
        long o0 = out + 0L * COLUMNS * FLOAT;
        FloatVector c00 = Lanes.load(o0);
        FloatVector c01 = Lanes.load(o0 + LENGTH * FLOAT);
        long a1 = a + 1 * rowStride;
        long o1 = out + 1L * COLUMNS * FLOAT;
        FloatVector c10 = Lanes.load(o1);
        FloatVector c11 = Lanes.load(o1 + LENGTH * FLOAT);
        long a2 = a + 2 * rowStride;
        long o2 = out + 2L * COLUMNS * FLOAT;
        FloatVector c20 = Lanes.load(o2);
        FloatVector c21 = Lanes.load(o2 + LENGTH * FLOAT);
        long a3 = a + 3 * rowStride;
        long o3 = out + 3L * COLUMNS * FLOAT;
        FloatVector c30 = Lanes.load(o3);
        FloatVector c31 = Lanes.load(o3 + LENGTH * FLOAT);
        long a4 = a + 4 * rowStride;
        long o4 = out + 4L * COLUMNS * FLOAT;
        FloatVector c40 = Lanes.load(o4);
        FloatVector c41 = Lanes.load(o4 + LENGTH * FLOAT);
        long a5 = a + 5 * rowStride;
        long o5 = out + 5L * COLUMNS * FLOAT;
        FloatVector c50 = Lanes.load(o5);
        FloatVector c51 = Lanes.load(o5 + LENGTH * FLOAT);
        long a6 = a + 6 * rowStride;
        long o6 = out + 6L * COLUMNS * FLOAT;
        FloatVector c60 = Lanes.load(o6);
        FloatVector c61 = Lanes.load(o6 + LENGTH * FLOAT);
        long a7 = a + 7 * rowStride;
        long o7 = out + 7L * COLUMNS * FLOAT;
        FloatVector c70 = Lanes.load(o7);
        FloatVector c71 = Lanes.load(o7 + LENGTH * FLOAT);
        long step = 0;
        long end = panel + (long) k * COLUMNS * FLOAT;
        for (long line = panel; line < end; line += COLUMNS * FLOAT) {
            FloatVector b0 = Lanes.load(line);
            FloatVector b1 = Lanes.load(line + LENGTH * FLOAT);
            FloatVector x0 = FloatVector.broadcast(SPECIES, Lanes.get(a0 + step));
            c00 = x0.fma(b0, c00);
            c01 = x0.fma(b1, c01);
            FloatVector x1 = FloatVector.broadcast(SPECIES, Lanes.get(a1 + step));
            c10 = x1.fma(b0, c10);
            c11 = x1.fma(b1, c11);
            FloatVector x2 = FloatVector.broadcast(SPECIES, Lanes.get(a2 + step));
            c20 = x2.fma(b0, c20);
            c21 = x2.fma(b1, c21);
            FloatVector x3 = FloatVector.broadcast(SPECIES, Lanes.get(a3 + step));
            c30 = x3.fma(b0, c30);
            c31 = x3.fma(b1, c31);
            FloatVector x4 = FloatVector.broadcast(SPECIES, Lanes.get(a4 + step));
            c40 = x4.fma(b0, c40);
            c41 = x4.fma(b1, c41);
            FloatVector x5 = FloatVector.broadcast(SPECIES, Lanes.get(a5 + step));
            c50 = x5.fma(b0, c50);
            c51 = x5.fma(b1, c51);
            FloatVector x6 = FloatVector.broadcast(SPECIES, Lanes.get(a6 + step));
            c60 = x6.fma(b0, c60);
            c61 = x6.fma(b1, c61);
            FloatVector x7 = FloatVector.broadcast(SPECIES, Lanes.get(a7 + step));
            c70 = x7.fma(b0, c70);
            c71 = x7.fma(b1, c71);
            step += stepStride;
        }
        Lanes.store(c00, o0);
        Lanes.store(c01, o0 + LENGTH * FLOAT);
        Lanes.store(c10, o1);
        Lanes.store(c11, o1 + LENGTH * FLOAT);
        Lanes.store(c20, o2);
        Lanes.store(c21, o2 + LENGTH * FLOAT);
        Lanes.store(c30, o3);
        Lanes.store(c31, o3 + LENGTH * FLOAT);
        Lanes.store(c40, o4);
        Lanes.store(c41, o4 + LENGTH * FLOAT);
        Lanes.store(c50, o5);
        Lanes.store(c51, o5 + LENGTH * FLOAT);
        Lanes.store(c60, o6);
        Lanes.store(c61, o6 + LENGTH * FLOAT);
        Lanes.store(c70, o7);
        Lanes.store(c71, o7 + LENGTH * FLOAT);
    }
}
