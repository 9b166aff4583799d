package dev.saccade.kernels.gemm;

import dev.saccade.kernels.gemm.CudaTile.Form;

/// The part of C that a block of a Hopper kernel computes, and which one a product uses: a pure
/// function of the product's shape. It decides when and where an element is computed, never what it
/// is. The numbers are those of `gemm/hopper.cu` and `gemm/hopper_few.cu`.
enum HopperTile {
    COLUMNS_192("128x192_cluster", 128, 192, 2, 32, 384, 231_200, 0, 1.0),
    COLUMNS_176("128x176_cluster", 128, 176, 2, 16, 384, 221_024, 0, 0.98),
    COLUMNS_160("128x160_cluster", 128, 160, 2, 16, 384, 210_656, 209_376, 0.96),
    COLUMNS_128("128x128_cluster", 128, 128, 2, 32, 384, 230_768, 221_488, 0.85),
    COLUMNS_112("128x112_cluster", 128, 112, 2, 16, 384, 210_288, 0, 0.8),
    ALONE_128("128x128", 128, 128, 1, 32, 384, 230_768, 221_488, 0.7),
    FEW_16("few16", 16, 64, 1, 0, 160, 209_472, 211_376, 0),
    FEW_32("few32", 32, 64, 1, 0, 160, 205_568, 201_360, 0),
    FEW_64("few64", 64, 64, 1, 0, 160, 214_208, 205_936, 0);

    /// Up to this many rows a linear layer's time is that of reading its weight.
    private static final int FEW_ROWS = 64;

    /// Rows of C that a warp stores at once.
    static final int STORED_ROWS = 16;

    /// Elements of k in a stage.
    static final int DEPTH = 64;

    private final String suffix;
    private final int rows;
    private final int columns;
    private final int cluster;
    private final int boxColumns;
    private final int threads;
    private final int sharedBytes;
    private final int pairSharedBytes;
    private final double speed;

    /// @param cluster blocks below each other that share a tile of B
    /// @param boxColumns bf16 elements of C that a box takes to memory; 0: few rows, no boxes
    /// @param pairSharedBytes shared memory of the gated unit; 0: it has no kernel
    /// @param speed the share of a multiprocessor's best speed that a block reaches; 0: few rows
    HopperTile(
            String suffix,
            int rows,
            int columns,
            int cluster,
            int boxColumns,
            int threads,
            int sharedBytes,
            int pairSharedBytes,
            double speed) {
        this.suffix = suffix;
        this.rows = rows;
        this.columns = columns;
        this.cluster = cluster;
        this.boxColumns = boxColumns;
        this.threads = threads;
        this.sharedBytes = sharedBytes;
        this.pairSharedBytes = pairSharedBytes;
        this.speed = speed;
    }

    /// The tile for a product.
    ///
    /// @param fromC whether the chains start from C
    /// @param plain whether C is stored as it is, by rows that begin on 16 bytes
    /// @param multiprocessors the device's
    static HopperTile choose(
            Form form, boolean fromC, boolean plain, int m, int n, int multiprocessors) {
        if (form.isLayer() && !fromC && m <= FEW_ROWS) {
            return m <= FEW_16.rows ? FEW_16 : m <= FEW_32.rows ? FEW_32 : FEW_64;
        }
        HopperTile best = COLUMNS_128;
        double least = Double.POSITIVE_INFINITY;
        for (HopperTile tile : values()) {
            if (!tile.isFew() && tile.supports(form, fromC, plain, m)) {
                long slots = multiprocessors / tile.cluster;
                long rounds = (tile.clusters(form, m, n) + slots - 1) / slots;
                double cost = rounds * tile.columns / tile.speed;
                if (cost < least) {
                    least = cost;
                    best = tile;
                }
            }
        }
        return best;
    }

    /// Whether there is a kernel.
    ///
    /// @param plain whether C is stored as it is, by rows that begin on 16 bytes
    boolean supports(Form form, boolean fromC, boolean plain, int m) {
        if (isFew()) {
            return form.isLayer() && !fromC && m <= rows;
        }
        if (form == Form.SWI_GLU) {
            return !fromC && pairSharedBytes > 0;
        }
        return switch (this) {
            case COLUMNS_192 -> plain; // its sums leave no registers for an epilogue
            case COLUMNS_128, ALONE_128 -> true;
            default -> form == Form.NT && !fromC;
        };
    }

    /// Clusters of tiles that cover C.
    long clusters(Form form, int m, int n) {
        long down = ((long) m + (long) rows * cluster - 1) / ((long) rows * cluster);
        int across = isFew() ? columns : form.columns(columns);
        return down * (((long) n + across - 1) / across);
    }

    /// Whether this is for few rows.
    boolean isFew() {
        return speed == 0;
    }

    /// The program that has the kernel.
    String program() {
        return isFew() ? "gemm/hopper_few" : "gemm/hopper";
    }

    /// The kernel's name.
    String kernel(Form form, boolean fromC) {
        String prefix =
                switch (form) {
                    case NN -> fromC ? "add_nn_" : "gemm_nn_";
                    case NT -> fromC ? "add_nt_" : "gemm_nt_";
                    case TN -> fromC ? "add_tn_" : "gemm_tn_";
                    case SWI_GLU -> "swi_glu_";
                };
        return prefix + suffix;
    }

    /// Rows of A that one fetch brings.
    int fetchRows() {
        return rows;
    }

    /// Rows of a B that lies along k, as a weight does, that one fetch brings.
    int fetchColumns(Form form) {
        if (isFew()) {
            return columns;
        }
        return form == Form.SWI_GLU ? columns / 2 : columns / cluster;
    }

    /// Bytes of a row of C that a box takes to memory.
    int storeBytes() {
        return boxColumns * 2;
    }

    /// Blocks of a cluster.
    int cluster() {
        return cluster;
    }

    /// Threads of a block.
    int threads() {
        return threads;
    }

    /// Dynamic shared memory of a block.
    int sharedBytes(Form form) {
        return form == Form.SWI_GLU ? pairSharedBytes : sharedBytes;
    }
}
