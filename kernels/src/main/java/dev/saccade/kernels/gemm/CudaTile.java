package dev.saccade.kernels.gemm;

import dev.saccade.kernels.DType;

/// The part of C that a block of a CUDA kernel computes, and which one a product uses: a pure
/// function of the product's shape. It decides when and where an element is computed, never what it
/// is. The numbers are those of `gemm/portable.cu` and `gemm/portable_f32.cu`.
enum CudaTile {
    BF16_128X256(DType.BF16, "128x256_bf16", 128, 256, 256, 98_304, true, true, 1.0, 1.0),
    BF16_128X128(DType.BF16, "128x128_bf16", 128, 128, 128, 65_536, true, true, 0.6, 0.85),
    BF16_64X64(DType.BF16, "64x64_bf16", 64, 64, 128, 49_152, true, true, 0.2, 0.5),
    BF16_64X32(DType.BF16, "64x32_bf16", 64, 32, 128, 61_440, true, false, 0.12, 0.35),
    BF16_16X128(DType.BF16, "16x128_bf16", 16, 128, 128, 92_160, true, false, 0.12, 0.2),
    BF16_16X32(DType.BF16, "16x32_bf16", 16, 32, 64, 49_152, true, false, 0.04, 0.12),
    BF16_128X128_ANY(DType.BF16, "128x128_any_bf16", 128, 128, 256, 65_536, false, true, 0.5, 0.5),
    BF16_64X64_ANY(DType.BF16, "64x64_any_bf16", 64, 64, 128, 49_152, false, true, 0.15, 0.35),
    F32_128X128(DType.F32, "128x128_f32", 128, 128, 256, 0, false, true, 1.0, 1.0),
    F32_64X64(DType.F32, "64x64_f32", 64, 64, 256, 0, false, true, 0.4, 0.7),
    F32_16X64(DType.F32, "16x64_f32", 16, 64, 128, 0, false, true, 0.12, 0.3);

    /// What is multiplied: the layouts, and the gated unit.
    enum Form {
        NN("gemm_nn_"),
        NT("gemm_nt_"),
        TN("gemm_tn_"),
        SWI_GLU("swi_glu_");

        private final String prefix;

        Form(String prefix) {
            this.prefix = prefix;
        }

        static Form of(Gemm.Layout layout) {
            return switch (layout) {
                case NN -> NN;
                case NT -> NT;
                case TN -> TN;
            };
        }

        /// Columns of C that a tile of `columns` columns covers: two products share them.
        int columns(int columns) {
            return this == SWI_GLU ? columns / 2 : columns;
        }

        /// Whether this is a linear layer forward, which few rows may go through.
        boolean isLayer() {
            return this == NT || this == SWI_GLU;
        }
    }

    /// Up to this many rows a linear layer's time is that of reading its weight.
    private static final int FEW_ROWS = 64;

    private final DType dtype;
    private final String suffix;
    private final int rows;
    private final int columns;
    private final int threads;
    private final int sharedBytes;
    private final boolean wantsAlignment;
    private final boolean hasEveryForm;

    // Which share of a multiprocessor's best speed a block reaches when it is there alone, and as
    // many blocks as fit reach together.
    private final double alone;
    private final double together;

    CudaTile(
            DType dtype,
            String suffix,
            int rows,
            int columns,
            int threads,
            int sharedBytes,
            boolean wantsAlignment,
            boolean hasEveryForm,
            double alone,
            double together) {
        this.dtype = dtype;
        this.suffix = suffix;
        this.rows = rows;
        this.columns = columns;
        this.threads = threads;
        this.sharedBytes = sharedBytes;
        this.wantsAlignment = wantsAlignment;
        this.hasEveryForm = hasEveryForm;
        this.alone = alone;
        this.together = together;
    }

    /// The tile for a product.
    ///
    /// @param dtype the operands' type
    /// @param aligned whether rows of A and B begin on 16 bytes
    /// @param multiprocessors the device's
    static CudaTile choose(
            DType dtype, Form form, boolean aligned, int m, int n, int multiprocessors) {
        if (dtype == DType.BF16 && form.isLayer() && aligned && m <= FEW_ROWS) {
            return fewRows(form, m, n, multiprocessors);
        }
        CudaTile best = dtype == DType.F32 ? F32_128X128 : BF16_128X128_ANY;
        double least = Double.POSITIVE_INFINITY;
        for (CudaTile tile : values()) {
            if (tile.dtype == dtype
                    && tile.supports(form, aligned)
                    && tile.wantsAlignment == (aligned && dtype == DType.BF16)) {
                double cost = tile.cost(form, m, n, multiprocessors);
                if (cost < least) {
                    least = cost;
                    best = tile;
                }
            }
        }
        return best;
    }

    /// Wide tiles where the weight has columns enough for all multiprocessors, since each block
    /// reads all rows again; narrow ones where it has not.
    private static CudaTile fewRows(Form form, int m, int n, int multiprocessors) {
        if (m <= BF16_16X32.rows) {
            return BF16_16X128.blocks(form, m, n) >= 2L * multiprocessors
                    ? BF16_16X128
                    : BF16_16X32;
        }
        return BF16_64X64.blocks(form, m, n) >= 4L * multiprocessors ? BF16_64X64 : BF16_64X32;
    }

    /// The work of the busiest multiprocessor, in elements at the best speed.
    private double cost(Form form, int m, int n, int multiprocessors) {
        long blocks = blocks(form, m, n);
        long busiest = (blocks + multiprocessors - 1) / multiprocessors;
        return busiest * rows * columns / Math.min(together, alone * busiest);
    }

    /// Whether there is a kernel.
    ///
    /// @param aligned whether rows of A and B begin on 16 bytes
    boolean supports(Form form, boolean aligned) {
        return (hasEveryForm || form.isLayer()) && (aligned || !wantsAlignment);
    }

    /// The operands' type.
    DType dtype() {
        return dtype;
    }

    /// The kernel's name.
    String kernel(Form form) {
        return form.prefix + suffix;
    }

    /// Blocks that cover C.
    long blocks(Form form, int m, int n) {
        int across = form.columns(columns);
        return (((long) m + rows - 1) / rows) * (((long) n + across - 1) / across);
    }

    /// Threads of a block.
    int threads() {
        return threads;
    }

    /// Dynamic shared memory of a block.
    int sharedBytes() {
        return sharedBytes;
    }
}
