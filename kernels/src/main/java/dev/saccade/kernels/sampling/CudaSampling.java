package dev.saccade.kernels.sampling;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Sampling on CUDA: where top-k, top-p or min-p cut, one kernel finds the last word kept of each
/// row; then the rows are walked, a warp a row up to 1024 words, else a block for each 8192 words
/// of a row.
final class CudaSampling implements Sampling {
    private static final int THREADS = 256;
    private static final int ROWS_OF_BLOCK = THREADS / 32;
    private static final int CUT_THREADS = 1024;
    private static final int WARP_WORDS = 1024;
    private static final int CHUNK = 8192;

    /// Words of a row that a block of [#penalise] handles.
    private static final int PENALISED = 4 * THREADS;

    /// Bits of a row's whole mass in fixed point.
    private static final int MASS_BITS = 63;

    private final CudaDevice device;
    private final Kernel warp;
    private final Kernel block;
    private final Kernel merge;
    private final Kernel cut;
    private final Kernel penalise;
    private final Kernel settle;

    CudaSampling(CudaDevice device) {
        Program program = device.program("sampling/portable");
        this.device = device;
        this.warp = program.kernel("sample_warp");
        this.block = program.kernel("sample_block");
        this.merge = program.kernel("sample_merge");
        this.cut = program.kernel("sample_cut");
        this.penalise = program.kernel("sample_penalise");
        this.settle = program.kernel("sample_settle");
    }

    /// The operands' addresses.
    private record Operands(
            int rows,
            int vocab,
            float inverse,
            boolean noisy,
            long logits,
            long banned,
            long keys,
            long positions,
            long tokens) {}

    @Override
    public void sample(
            int rows,
            int vocab,
            Options options,
            Span logits,
            @Nullable Span banned,
            Span keys,
            Span positions,
            Span tokens) {
        HostSampling.check(rows, vocab);
        boolean greedy = options.greedy();
        Operands operands =
                new Operands(
                        rows,
                        vocab,
                        greedy ? 1f : 1f / options.temperature(),
                        !greedy,
                        logits.require("logits", DType.F32, (long) rows * vocab),
                        banned == null ? 0 : banned.require("banned", DType.U8, vocab),
                        keys.require("keys", DType.I64, rows),
                        positions.require("positions", DType.I32, rows),
                        tokens.require("tokens", DType.I32, rows));
        if (rows == 0) {
            return;
        }
        if (!options.cuts()) {
            draw(operands, 0, 0);
            return;
        }
        try (DeviceBuffer cuts = device.allocate(2L * Float.BYTES * rows)) {
            long cutWords = cuts.address() + (long) Float.BYTES * rows;
            int vocabBits = Integer.SIZE - Integer.numberOfLeadingZeros(vocab - 1);
            cut.begin()
                    .int32(vocab)
                    .float32(operands.inverse)
                    .int32(options.topK())
                    .float32(options.topP())
                    .float32(options.reach())
                    .float32(Math.scalb(1f, MASS_BITS - vocabBits))
                    .pointer(operands.logits)
                    .pointer(operands.banned)
                    .pointer(cuts.address())
                    .pointer(cutWords)
                    .launch(rows, CUT_THREADS);
            draw(operands, cuts.address(), cutWords);
        }
    }

    @Override
    public void penalise(int rows, int vocab, float penalty, Span logits, Span seen, Span result) {
        HostSampling.check(rows, vocab);
        HostSampling.checkPenalty(penalty);
        long elements = (long) rows * vocab;
        long from = logits.require("logits", DType.F32, elements);
        long marks = seen.require("seen", DType.U8, elements);
        long to = result.require("result", DType.F32, elements);
        if (rows > 0) {
            penalise.begin()
                    .int32(vocab)
                    .float32(penalty)
                    .pointer(from)
                    .pointer(marks)
                    .pointer(to)
                    .launch(rows, Math.ceilDiv(vocab, PENALISED), 1, THREADS, 0);
        }
    }

    @Override
    public void settle(
            int rows, int vocab, @Nullable Span forced, @Nullable Span seen, Span tokens) {
        HostSampling.check(rows, vocab);
        long words = tokens.require("tokens", DType.I32, rows);
        long chosen = forced == null ? 0 : forced.require("forced", DType.I32, rows);
        long marks = seen == null ? 0 : seen.require("seen", DType.U8, (long) rows * vocab);
        if (rows > 0) {
            settle.begin()
                    .int32(rows)
                    .int32(vocab)
                    .pointer(chosen)
                    .pointer(marks)
                    .pointer(words)
                    .pointer(device.faultAddress())
                    .launch(Math.ceilDiv(rows, THREADS), THREADS);
        }
    }

    private void draw(Operands operands, long cuts, long cutWords) {
        int rows = operands.rows;
        int vocab = operands.vocab;
        if (vocab <= WARP_WORDS) {
            warp.begin()
                    .int32(rows)
                    .int32(vocab)
                    .float32(operands.inverse)
                    .int32(operands.noisy ? 1 : 0)
                    .pointer(operands.logits)
                    .pointer(operands.banned)
                    .pointer(operands.keys)
                    .pointer(operands.positions)
                    .pointer(cuts)
                    .pointer(cutWords)
                    .pointer(operands.tokens)
                    .pointer(device.faultAddress())
                    .launch(Math.ceilDiv(rows, ROWS_OF_BLOCK), THREADS);
            return;
        }
        int chunks = Math.ceilDiv(vocab, CHUNK);
        try (DeviceBuffer parts = device.allocate((long) Long.BYTES * rows * chunks)) {
            block.begin()
                    .int32(vocab)
                    .float32(operands.inverse)
                    .int32(operands.noisy ? 1 : 0)
                    .pointer(operands.logits)
                    .pointer(operands.banned)
                    .pointer(operands.keys)
                    .pointer(operands.positions)
                    .pointer(cuts)
                    .pointer(cutWords)
                    .pointer(parts.address())
                    .pointer(operands.tokens)
                    .pointer(device.faultAddress())
                    .launch(rows, chunks, 1, THREADS, 0);
            if (chunks > 1) {
                merge.begin()
                        .int32(rows)
                        .int32(vocab)
                        .int32(chunks)
                        .pointer(parts.address())
                        .pointer(operands.tokens)
                        .pointer(device.faultAddress())
                        .launch(Math.ceilDiv(rows, ROWS_OF_BLOCK), THREADS);
            }
        }
    }
}
