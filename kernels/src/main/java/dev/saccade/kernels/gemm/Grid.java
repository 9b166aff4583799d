package dev.saccade.kernels.gemm;

/// How C is cut into regions, one a worker: a pure function of the shape. It decides who computes
/// an element, never what the element is.
///
/// @param m rows of C
/// @param n columns of C
/// @param rowCuts regions along the rows
/// @param columnCuts regions along the columns
record Grid(int m, int n, int rowCuts, int columnCuts) {
    private static final int ROW_UNIT = RegisterTile.HEIGHT;
    private static final int COLUMN_UNIT = RegisterTile.COLUMNS / 2;

    /// What packing an element costs, in multiply-adds (0.1 ns where 128 of them take 1 ns).
    private static final int PACKING = 12;

    /// Work in multiply-adds below which another worker costs more than it saves: 4 us.
    private static final long SMALL = 1L << 19;

    /// A part of C.
    record Region(int row, int rows, int column, int columns) {}

    /// The grid with the least work for the busiest worker, among those with at most one region a
    /// worker.
    ///
    /// @param products how many products share A
    static Grid of(int m, int n, int k, int products, int workers) {
        Grid best = new Grid(m, n, 1, 1);
        long least = best.cost(products);
        int crew = Math.clamp(least * k / SMALL, 1, workers);
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

    /// The largest region's multiply-adds and packing in one step of k.
    private long cost(int products) {
        long rows = (long) quotient(quotient(m, ROW_UNIT), rowCuts) * ROW_UNIT;
        long columns = (long) quotient(quotient(n, COLUMN_UNIT), columnCuts) * COLUMN_UNIT;
        return rows * columns * products + PACKING * (rows + columns * products);
    }

    /// How many regions there are; none without elements.
    int regions() {
        return m == 0 || n == 0 ? 0 : rowCuts * columnCuts;
    }

    /// Region `index`; it may be empty.
    Region region(int index) {
        int i = index / columnCuts;
        int j = index % columnCuts;
        int row = edge(m, ROW_UNIT, rowCuts, i);
        int column = edge(n, COLUMN_UNIT, columnCuts, j);
        return new Region(
                row,
                edge(m, ROW_UNIT, rowCuts, i + 1) - row,
                column,
                edge(n, COLUMN_UNIT, columnCuts, j + 1) - column);
    }

    private static int edge(int extent, int unit, int cuts, int index) {
        long units = quotient(extent, unit);
        return (int) Math.min(extent, units * index / cuts * unit);
    }

    /// `a / b`, rounded up.
    private static int quotient(int a, int b) {
        return (a + b - 1) / b;
    }
}
