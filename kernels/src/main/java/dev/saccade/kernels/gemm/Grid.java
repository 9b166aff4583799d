package dev.saccade.kernels.gemm;

/// How C is cut into regions, one a worker: a pure function of the shape. It decides who computes
/// an element, never what the element is.
///
/// @param rowCuts regions along the rows
/// @param columnCuts regions along the columns
record Grid(int m, int n, int rowCuts, int columnCuts) {
    /// Multiply-adds below which waking another worker costs more than it saves.
    private static final long SMALL = 1L << 19;

    /// What packing an element costs, in multiply-adds of a tile's row of one vector.
    private static final int PACKING = 12;

    /// A part of C.
    record Region(int row, int rows, int column, int columns) {}

    /// The grid with the least work for the busiest worker, among those with at most one region a
    /// worker.
    ///
    /// @param products how many products share A
    static Grid of(int m, int n, int k, int products, int workers) {
        long work = (long) m * n * k * products;
        int crew = (int) Math.min(workers, Math.max(1, work / SMALL));
        Grid best = new Grid(m, n, 1, 1);
        long least = best.cost(products);
        for (int rowCuts = 1; rowCuts <= crew; rowCuts++) {
            Grid grid = new Grid(m, n, rowCuts, crew / rowCuts);
            long cost = grid.cost(products);
            if (cost < least) {
                least = cost;
                best = grid;
            }
        }
        return best;
    }

    /// The largest region's multiply-adds and packing, a step of k.
    private long cost(int products) {
        long rows = part(units(m, RegisterTile.HEIGHT), rowCuts, 1) * (long) RegisterTile.HEIGHT;
        long columns = part(units(n, UNIT), columnCuts, 1) * (long) UNIT;
        return rows * columns * products + PACKING * (rows + columns * products);
    }

    private static final int UNIT = RegisterTile.COLUMNS / 2;

    int regions() {
        return m == 0 || n == 0 ? 0 : rowCuts * columnCuts;
    }

    Region region(int index) {
        int i = index / columnCuts;
        int j = index % columnCuts;
        int row = edge(m, RegisterTile.HEIGHT, rowCuts, i);
        int column = edge(n, UNIT, columnCuts, j);
        return new Region(
                row,
                edge(m, RegisterTile.HEIGHT, rowCuts, i + 1) - row,
                column,
                edge(n, UNIT, columnCuts, j + 1) - column);
    }

    private static int units(int extent, int unit) {
        return (extent + unit - 1) / unit;
    }

    /// The size of the largest of `cuts` parts.
    private static int part(int units, int cuts, int least) {
        return Math.max(least, (units + cuts - 1) / cuts);
    }

    private static int edge(int extent, int unit, int cuts, int index) {
        long units = units(extent, unit);
        return (int) Math.min(extent, units * index / cuts * unit);
    }
}
