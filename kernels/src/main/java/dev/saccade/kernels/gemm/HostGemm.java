package dev.saccade.kernels.gemm;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// The product on the CPU. C is cut into a grid of regions, one a worker ([Grid]); a worker walks
/// its region so that what it reads most often is in the nearest cache:
///
/// ```
/// for each chunk of B's columns      packed once, third cache
///   for each block of A's rows       packed, second cache
///     for each panel of the chunk    second cache
///       for each tile of the block   registers, k from 0 to K - 1
/// ```
final class HostGemm implements Gemm {
    private static final int BLOCK_FLOATS = 1 << 16;
    private static final int CHUNK_FLOATS = 1 << 20;

    private final HostDevice device;
    private final Workspace[] workspaces;

    /// A worker's packed operands and tiles.
    private static final class Workspace {
        private final float[] block = new float[Operand.BLOCK];
        private final float[] tile = new float[RegisterTile.FLOATS];
        private final float[] otherTile = new float[RegisterTile.FLOATS];
        private float[] a = new float[0];
        private float[] b = new float[0];
        private float[] other = new float[0];

        private static float[] grown(float[] array, int floats) {
            return array.length >= floats ? array : new float[floats];
        }
    }

    HostGemm(HostDevice device) {
        this.device = device;
        this.workspaces = new Workspace[device.workers()];
        for (int worker = 0; worker < workspaces.length; worker++) {
            workspaces[worker] = new Workspace();
        }
    }

    @Override
    public void multiply(Shape shape, Span a, Span b, Span c, Epilogue epilogue) {
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        Layout layout = shape.layout();
        Operand rows = operand("a", a, m, k, layout != Layout.TN);
        Operand columns = operand("b", b, n, k, layout == Layout.NT);
        run(rows, columns, null, Store.of(epilogue, c, m, n));
    }

    @Override
    public void multiplyBatch(Shape shape, Batch batch, Span a, Span b, Span c, Epilogue epilogue) {
        batch.require(shape, epilogue);
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        long ofA = (long) m * k;
        long ofB = (long) k * n;
        long ofC = (long) m * n;
        a.require("a", DType.F32, batch.elements(batch.strideA(), ofA));
        b.require("b", DType.F32, batch.elements(batch.strideB(), ofB));
        c.require("c", DType.F32, batch.elements(batch.strideC(), ofC));
        Layout layout = shape.layout();
        Grid.Region whole = new Grid.Region(0, m, 0, n);
        // With products for everybody each is one worker's; fewer are cut up, one after the other.
        if (batch.count() < device.workers()) {
            for (int i = 0; i < batch.count(); i++) {
                multiply(
                        shape,
                        a.slice(i * batch.strideA(), ofA),
                        b.slice(i * batch.strideB(), ofB),
                        c.slice(i * batch.strideC(), ofC),
                        epilogue);
            }
        } else if (ofC > 0) {
            device.run(
                    batch.count(),
                    (worker, begin, end) -> {
                        for (int i = begin; i < end; i++) {
                            Span ai = a.slice(i * batch.strideA(), ofA);
                            Span bi = b.slice(i * batch.strideB(), ofB);
                            Span ci = c.slice(i * batch.strideC(), ofC);
                            region(
                                    workspaces[worker],
                                    whole,
                                    operand("a", ai, m, k, layout != Layout.TN),
                                    operand("b", bi, n, k, layout == Layout.NT),
                                    null,
                                    Store.of(epilogue, ci, m, n));
                        }
                    });
        }
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
        Operand rows = operand("x", x, m, k, true);
        Operand gateColumns = operand("gateWeight", gateWeight, n, k, true);
        Operand upColumns = operand("upWeight", upWeight, n, k, true);
        run(rows, gateColumns, upColumns, Store.swiGlu(out, gate, up, m, n));
    }

    private static Operand operand(String name, Span span, int extent, int k, boolean contiguous) {
        long address = span.require(name, DType.F32, (long) extent * k);
        return new Operand(address, extent, k, contiguous);
    }

    private void run(Operand a, Operand b, @Nullable Operand other, Store store) {
        int products = other == null ? 1 : 2;
        Grid grid = Grid.of(a.extent(), b.extent(), a.k(), products, device.workers());
        device.run(
                grid.regions(),
                (worker, begin, end) -> {
                    for (int index = begin; index < end; index++) {
                        region(workspaces[worker], grid.region(index), a, b, other, store);
                    }
                });
    }

    private static void region(
            Workspace space,
            Grid.Region region,
            Operand a,
            Operand b,
            @Nullable Operand other,
            Store store) {
        int k = a.k();
        int blockRows = lines(BLOCK_FLOATS, k, RegisterTile.ROWS, region.rows());
        // A single block of A stays packed; B's panels are then used as soon as they are packed.
        boolean one = blockRows >= region.rows();
        int chunkColumns =
                one
                        ? Math.min(RegisterTile.COLUMNS, region.columns())
                        : lines(CHUNK_FLOATS, k, RegisterTile.COLUMNS, region.columns());
        space.a = Workspace.grown(space.a, a.packedFloats(blockRows, RegisterTile.ROWS));
        int packed = b.packedFloats(chunkColumns, RegisterTile.COLUMNS);
        space.b = Workspace.grown(space.b, packed);
        if (one) {
            a.pack(region.row(), region.rows(), RegisterTile.ROWS, space.a, space.block);
        }
        for (int j = 0; j < region.columns(); j += chunkColumns) {
            int column = region.column() + j;
            int columns = Math.min(chunkColumns, region.columns() - j);
            b.pack(column, columns, RegisterTile.COLUMNS, space.b, space.block);
            if (other != null) {
                space.other = Workspace.grown(space.other, packed);
                other.pack(column, columns, RegisterTile.COLUMNS, space.other, space.block);
            }
            for (int i = 0; i < region.rows(); i += blockRows) {
                int row = region.row() + i;
                int rows = Math.min(blockRows, region.rows() - i);
                if (!one) {
                    a.pack(row, rows, RegisterTile.ROWS, space.a, space.block);
                }
                block(space, k, row, rows, column, columns, other != null, store);
            }
        }
    }

    /// As many lines of k elements as fill `floats`, in whole panels of `width`, at least one
    /// panel; at most all.
    private static int lines(int floats, int k, int width, int all) {
        int panels = Math.max(1, floats / Math.max(1, k) / width);
        return (int) Math.min(all, (long) panels * width);
    }

    /// A packed block of A times a packed chunk of B.
    private static void block(
            Workspace space,
            int k,
            int row,
            int rows,
            int column,
            int columns,
            boolean both,
            Store store) {
        for (int j = 0; j < columns; j += RegisterTile.COLUMNS) {
            int width = Math.min(RegisterTile.COLUMNS, columns - j);
            for (int i = 0; i < rows; i += RegisterTile.HEIGHT) {
                int height = Math.min(RegisterTile.HEIGHT, rows - i);
                int panel = i / RegisterTile.ROWS * RegisterTile.ROWS;
                int from = panel * k + i - panel;
                float[] tile = space.tile;
                float[] start = store.start(tile, row + i, height, column + j, width);
                RegisterTile.run(space.a, from, height, space.b, j * k, width, k, start, tile);
                if (both) {
                    RegisterTile.run(
                            space.a,
                            from,
                            height,
                            space.other,
                            j * k,
                            width,
                            k,
                            start,
                            space.otherTile);
                }
                store.finish(tile, space.otherTile, row + i, height, column + j, width);
            }
        }
    }
}
