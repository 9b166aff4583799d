package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.connector.PixelUnshuffle;
import dev.saccade.kernels.embedding.Embedding;
import dev.saccade.kernels.position.Rope;

/// Operations that move or turn rows.
final class RowCases {
    private static final int SAMPLES = 32;
    private static final int POSITIONS = 4096;
    private static final double THETA = 1e6;

    private RowCases() {}

    /// `op=rope dtype rows heads head_dim`: in place.
    static PreparedCase rope(Case work, Workbench bench) {
        Rope rope = Rope.on(bench.device());
        int rows = work.integer("rows");
        int heads = work.integer("heads");
        int headDim = work.integer("head_dim");
        DType dtype = work.dtype();
        long count = (long) rows * heads * headDim;
        double bytes =
                2.0 * dtype.bytes() * count
                        + 4.0 * rows
                        + 4.0 * Math.min(rows, POSITIONS) * headDim;
        int sets = bench.sets((long) bytes);
        Operand x = bench.normal(dtype, count, sets);
        int[] positions = bench.draw(rows, POSITIONS);
        Span positionSpan = bench.integers(positions);
        Operand table = bench.empty(DType.F32, (long) POSITIONS * headDim, 1);
        rope.table(POSITIONS, headDim, THETA, table.set(0));
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set -> rope.rotate(rows, heads, headDim, table.set(0), positionSpan, x.set(set)),
                () -> bench.reset(x),
                () -> {
                    int half = headDim / 2;
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = (int) bench.draw((long) rows);
                        int i = (int) bench.draw((long) half);
                        long at = ((long) row * heads + bench.draw((long) heads)) * headDim + i;
                        double angle = positions[row] * Math.pow(THETA, -2.0 * i / headDim);
                        double a = x.value(at);
                        double b = x.value(at + half);
                        bench.require(
                                "x[" + at + "]",
                                dtype,
                                bench.read(x.set(0), at),
                                a * Math.cos(angle) - b * Math.sin(angle),
                                Math.abs(a) + Math.abs(b),
                                0x1p-20);
                        bench.require(
                                "x[" + (at + half) + "]",
                                dtype,
                                bench.read(x.set(0), at + half),
                                b * Math.cos(angle) + a * Math.sin(angle),
                                Math.abs(a) + Math.abs(b),
                                0x1p-20);
                    }
                },
                null);
    }

    /// `op=gather dtype rows width table_rows`: the embedding.
    static PreparedCase gather(Case work, Workbench bench) {
        Embedding embedding = Embedding.on(bench.device());
        int rows = work.integer("rows");
        int width = work.integer("width");
        int tableRows = work.integer("table_rows");
        DType dtype = work.dtype();
        double bytes = 2.0 * dtype.bytes() * rows * width + 4.0 * rows;
        int sets = bench.sets((long) bytes);
        Operand table = bench.normal(dtype, (long) tableRows * width, 1);
        Operand out = bench.empty(dtype, (long) rows * width, sets);
        int[][] indices = new int[sets][];
        Span[] indexSpans = new Span[sets];
        for (int set = 0; set < sets; set++) {
            indices[set] = bench.draw(rows, tableRows);
            indexSpans[set] = bench.integers(indices[set]);
        }
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set ->
                        embedding.gather(
                                rows,
                                width,
                                tableRows,
                                indexSpans[set],
                                table.set(0),
                                out.set(set)),
                () -> bench.reset(out),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = sample == 0 ? rows - 1 : (int) bench.draw((long) rows);
                        int column = (int) bench.draw((long) width);
                        bench.require(
                                "out[%d, %d]".formatted(row, column),
                                dtype,
                                bench.read(out.set(0), (long) row * width + column),
                                table.value((long) indices[0][row] * width + column),
                                0,
                                0);
                    }
                },
                null);
    }

    /// `op=scatter_add dtype rows width table_rows`: the embedding's gradient; the table is F32.
    static PreparedCase scatterAdd(Case work, Workbench bench) {
        Embedding embedding = Embedding.on(bench.device());
        int rows = work.integer("rows");
        int width = work.integer("width");
        int tableRows = work.integer("table_rows");
        DType dtype = work.dtype();
        double bytes = (dtype.bytes() + 8.0) * rows * width + 4.0 * rows;
        int sets = bench.sets((long) bytes);
        Operand source = bench.normal(dtype, (long) rows * width, sets);
        Operand target = bench.zeros(DType.F32, (long) tableRows * width, 1);
        int[] indices = bench.draw(rows, tableRows);
        Span indexSpan = bench.integers(indices);
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set ->
                        embedding.scatterAdd(
                                rows, width, tableRows, indexSpan, source.set(set), target.set(0)),
                () -> bench.reset(target),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = indices[(int) bench.draw((long) rows)];
                        int column = (int) bench.draw((long) width);
                        double exact = 0;
                        double magnitude = 0;
                        for (int i = 0; i < rows; i++) {
                            if (indices[i] == row) {
                                double value = source.value((long) i * width + column);
                                exact += value;
                                magnitude += Math.abs(value);
                            }
                        }
                        bench.require(
                                "target[%d, %d]".formatted(row, column),
                                DType.F32,
                                bench.read(target.set(0), (long) row * width + column),
                                exact,
                                magnitude,
                                0x1p-20);
                    }
                },
                null);
    }

    /// `op=pixel_unshuffle dtype tiles grid width`.
    static PreparedCase pixelUnshuffle(Case work, Workbench bench) {
        PixelUnshuffle unshuffle = PixelUnshuffle.on(bench.device());
        int tiles = work.integer("tiles");
        int grid = work.integer("grid");
        int width = work.integer("width");
        DType dtype = work.dtype();
        int patches = grid * grid;
        long count = (long) tiles * patches * width;
        double bytes = 2.0 * dtype.bytes() * count;
        int sets = bench.sets((long) bytes);
        Operand x = bench.normal(dtype, (long) tiles * (1 + patches) * width, sets);
        Operand y = bench.empty(dtype, count, sets);
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set -> unshuffle.forward(tiles, grid, width, x.set(set), y.set(set)),
                () -> bench.reset(y),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int tile = (int) bench.draw((long) tiles);
                        int row = (int) bench.draw((long) grid);
                        int column = (int) bench.draw((long) grid);
                        int channel = (int) bench.draw((long) width);
                        long from =
                                ((long) tile * (1 + patches) + 1 + (long) row * grid + column)
                                                * width
                                        + channel;
                        long cell =
                                (long) tile * (patches / 4)
                                        + (long) (row / 2) * (grid / 2)
                                        + column / 2;
                        long to =
                                cell * 4 * width
                                        + (row % 2 * 2 + column % 2) * (long) width
                                        + channel;
                        bench.require(
                                "y[" + to + "]",
                                dtype,
                                bench.read(y.set(0), to),
                                x.value(from),
                                0,
                                0);
                    }
                },
                null);
    }
}
