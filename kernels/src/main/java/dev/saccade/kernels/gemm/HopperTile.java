package dev.saccade.kernels.gemm;

import dev.saccade.kernels.gemm.CudaTile.Form;

/// The part of C that a block of a Hopper kernel computes, and which one a product uses: a pure
/// function of the product's shape. It decides when and where an element is computed, never what it
/// is. The numbers are those of `gemm/hopper.cu` and `gemm/hopper_few.cu`.
enum HopperTile {
    COLUMNS_256(256, 2, false, 4, 64, 2, 0, 0, 1.0),
    COLUMNS_224(224, 2, false, 4, 112, 1, 0, 0, 1.0),
    COLUMNS_192(192, 2, true, 5, 32, 3, 32, 3, 1.0),
    COLUMNS_160(160, 2, true, 5, 32, 3, 80, 2, 0.99),
    COLUMNS_128(128, 2, true, 6, 32, 4, 32, 3, 0.88),
    COLUMNS_112(112, 2, true, 6, 112, 1, 0, 0, 0.83),
    ALONE_192(192, 1, true, 5, 32, 3, 0, 0, 0.8),
    ALONE_128(128, 1, false, 6, 32, 4, 32, 3, 0.73),
    FEW_16_X16(16, 16, 2, 2),
    FEW_16_X32(16, 32, 1, 1),
    FEW_16_X64(16, 64, 2, 1),
    FEW_16_X112(16, 112, 0, 1),
    FEW_16_X128(16, 128, 1, 0),
    FEW_16_X224(16, 224, 1, 0),
    FEW_32_X16(32, 16, 2, 2),
    FEW_32_X32(32, 32, 1, 1),
    FEW_32_X64(32, 64, 2, 1),
    FEW_32_X112(32, 112, 0, 1),
    FEW_32_X128(32, 128, 1, 0),
    FEW_32_X224(32, 224, 1, 0),
    FEW_64_X16(64, 16, 2, 2),
    FEW_64_X32(64, 32, 1, 1),
    FEW_64_X64(64, 64, 2, 1),
    FEW_64_X112(64, 112, 0, 1),
    FEW_64_X128(64, 128, 1, 0),
    FEW_64_X224(64, 224, 1, 0);

    /// Up to this many rows a linear layer's time is that of reading its weight.
    private static final int FEW_ROWS = 64;

    /// Rows of C that a warp stores at once.
    static final int STORED_ROWS = 16;

    /// Elements of k in a stage, or in each of its depths.
    static final int DEPTH = 64;

    private static final int ROW_BYTES = DEPTH * 2;
    private static final int BARRIER = 8;
    private static final int WARPS = 8;
    private static final int GROUPS = 2;
    private static final int FEW_STAGE_MEMORY = 216 * 1024;

    // What a product costs beside its tensor cores' time, in clocks, as measured.
    private static final int CLUSTER_STARTS = 1000;
    private static final int LAST_COLUMN_OF_TURNS = 8;
    private static final int COLUMN_OF_SHARED = 6;
    private static final int ALONE_ROUNDS = 3;
    private static final int LONG_GATED_DEPTH = 4096;
    private static final double SHORT_GATED_192 = 1.05;

    private final int rows;
    private final int columns;
    private final int cluster;
    private final boolean turns;
    private final int stages;
    private final int boxColumns;
    private final int boxes;
    private final int pairBoxColumns;
    private final int pairBoxes;
    private final double speed;
    private final int depths;
    private final int pairDepths;

    /// @param cluster blocks below each other that share a tile of B
    /// @param turns whether the two warpgroups take turns with tiles, or share each
    /// @param boxColumns bf16 elements of C that a box takes to memory
    /// @param boxes how many of them a warp has
    /// @param pairBoxColumns the same for the gated unit; 0: it has no kernel
    /// @param speed the share of a multiprocessor's best speed that a block reaches when all run
    HopperTile(
            int columns,
            int cluster,
            boolean turns,
            int stages,
            int boxColumns,
            int boxes,
            int pairBoxColumns,
            int pairBoxes,
            double speed) {
        rows = 128;
        this.columns = columns;
        this.cluster = cluster;
        this.turns = turns;
        this.stages = stages;
        this.boxColumns = boxColumns;
        this.boxes = boxes;
        this.pairBoxColumns = pairBoxColumns;
        this.pairBoxes = pairBoxes;
        this.speed = speed;
        depths = 0;
        pairDepths = 0;
    }

    /// Few rows.
    ///
    /// @param columns of C
    /// @param depths how often DEPTH goes into a stage; 0: there is no kernel
    /// @param pairDepths the same for the gated unit
    HopperTile(int rows, int columns, int depths, int pairDepths) {
        this.rows = rows;
        this.columns = columns;
        this.depths = depths;
        this.pairDepths = pairDepths;
        cluster = 1;
        turns = false;
        stages = 0;
        boxColumns = 0;
        boxes = 0;
        pairBoxColumns = 0;
        pairBoxes = 0;
        speed = 0;
    }

    /// The tile for a product.
    ///
    /// @param fromC whether the chains start from C
    /// @param plain whether C is stored as it is, or with a bias in bf16 by NT, by rows that begin
    ///   on 16 bytes
    /// @param multiprocessors the device's
    static HopperTile choose(
            Form form, boolean fromC, boolean plain, int m, int n, int k, int multiprocessors) {
        boolean few = form.isLayer() && !fromC && m <= FEW_ROWS;
        HopperTile best = COLUMNS_128;
        double least = Double.POSITIVE_INFINITY;
        for (HopperTile tile : values()) {
            if (tile.isFew() == few && tile.supports(form, fromC, plain, m)) {
                double cost =
                        few
                                ? tile.costOfFew(form, n, multiprocessors)
                                : tile.cost(form, m, n, k, multiprocessors);
                if (cost < least) {
                    least = cost;
                    best = tile;
                }
            }
        }
        return best;
    }

    /// What a product takes, in clocks: the rounds of tiles, and the epilogues that no products
    /// hide.
    private double cost(Form form, int m, int n, int k, int multiprocessors) {
        long slots = multiprocessors / cluster;
        long rounds = (clusters(form, m, n) + slots - 1) / slots;
        double products = ((long) k + DEPTH - 1) / DEPTH * columns * 4.0;
        // What two blocks share counts when all of them ask the second-level cache at once.
        double round = cluster == 1 && rounds <= ALONE_ROUNDS ? products : products / speed;
        double epilogue = turns ? 0 : columns * COLUMN_OF_SHARED;
        double last = turns ? columns * LAST_COLUMN_OF_TURNS : 0;
        if (form == Form.SWI_GLU && this == COLUMNS_192 && k < LONG_GATED_DEPTH) {
            round *= SHORT_GATED_192; // too short for the longest epilogue to hide behind
        }
        return rounds * (round + epilogue) + last + (cluster > 1 ? CLUSTER_STARTS : 0);
    }

    /// What a multiprocessor reads for a step of k: its columns of the weight in each round, and x.
    private double costOfFew(Form form, int n, int multiprocessors) {
        long rounds = (clusters(form, 1, n) + multiprocessors - 1) / multiprocessors;
        int weights = form == Form.SWI_GLU ? 2 : 1;
        return (rounds * (weights * columns + FEW_ROWS)) + rows / 1024.0;
    }

    /// Whether there is a kernel.
    ///
    /// @param plain as for choose()
    boolean supports(Form form, boolean fromC, boolean plain, int m) {
        if (isFew()) {
            int has = form == Form.SWI_GLU ? pairDepths : depths;
            return form.isLayer() && !fromC && m <= rows && has > 0;
        }
        if (form == Form.SWI_GLU) {
            return !fromC && pairBoxes > 0 && (this != COLUMNS_192 || plain);
        }
        return switch (this) {
            case COLUMNS_256, COLUMNS_128, ALONE_128 -> true;
            case COLUMNS_192 -> plain; // its sums leave no registers for an epilogue
            case ALONE_192 -> plain && form == Form.NT && !fromC;
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
        return boxes == 0;
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
        String tile = rows + "x" + columns;
        return prefix + (isFew() ? "few" + tile : cluster > 1 ? tile + "_cluster" : tile);
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
    int storeBytes(Form form) {
        return (form == Form.SWI_GLU ? pairBoxColumns : boxColumns) * 2;
    }

    /// Blocks of a cluster.
    int cluster() {
        return cluster;
    }

    /// Threads of a block.
    int threads() {
        return isFew() ? 4 * 32 + 32 : (1 + GROUPS) * 128;
    }

    /// Dynamic shared memory of a block.
    int sharedBytes(Form form) {
        boolean pair = form == Form.SWI_GLU;
        return isFew() ? fewSharedBytes(pair) : largeSharedBytes(pair);
    }

    private int largeSharedBytes(boolean pair) {
        int ring = stages * (rows + columns) * ROW_BYTES;
        int ofC = pair ? columns / 2 : columns;
        int box = STORED_ROWS * storeBytes(pair ? Form.SWI_GLU : Form.NT);
        int count = pair ? pairBoxes : boxes;
        int patches = Math.max(patchBytes(pair, ofC), count * box);
        int out = (patches + 1023) / 1024 * 1024;
        int vectors = pair ? 0 : GROUPS * 2 * ofC * 2;
        int barriers = 2 * stages + GROUPS + WARPS * count;
        return ring + WARPS * out + vectors + barriers * BARRIER;
    }

    private int fewSharedBytes(boolean pair) {
        int deep = (rows + (pair ? 2 : 1) * columns) * ROW_BYTES;
        int fewStages = FEW_STAGE_MEMORY / (deep * (pair ? pairDepths : depths));
        int ring = fewStages * deep * (pair ? pairDepths : depths);
        int written = ring + 4 * patchBytes(pair, columns);
        int read = ring - deep + FEW_ROWS * ROW_BYTES;
        return Math.max(written, read) + 2 * fewStages * BARRIER;
    }

    /// A warp's patch of fp32.
    private static int patchBytes(boolean pair, int columns) {
        int across = pair || columns % 32 != 0 ? 16 : 32;
        return STORED_ROWS * ((pair ? 2 : 1) * across + 4) * Float.BYTES;
    }
}
