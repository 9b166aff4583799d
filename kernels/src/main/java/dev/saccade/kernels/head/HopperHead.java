package dev.saccade.kernels.head;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import org.jspecify.annotations.Nullable;

/// The head on Hopper: logits stay in the registers of the product (`head/hopper.cu`). What that
/// does not take goes to [ChunkedHead], whose bits are the same.
final class HopperHead implements Head {
    /// Up to this many rows the product is reading the weight, and has kernels of its own for that.
    private static final int FEW_ROWS = 64;

    private static final int ACCESS_BYTES = 16;
    private static final int BYTES = 2;

    /// The numbers of `head/hopper.cu`.
    private static final int CLUSTER = 2;

    private static final int ROWS = 128;
    private static final int DEPTH = 64;
    private static final int SHARE = 128;
    private static final int BLOCK = 256;
    private static final int SEGMENT = 1024;
    private static final int CLUSTER_THREADS = 384;
    private static final int SHARED_BYTES = 196_672;

    private static final int THREADS = 256;
    private static final int MERGED_ROWS = THREADS / 32;

    /// Bytes of what is kept of a segment, and of a row in the backward pass.
    private static final int PART_BYTES = 16;

    /// The merge's name for targets' logits that lie alone.
    private static final int TARGETS_F32 = 2;

    private final CudaDevice cuda;
    private final ChunkedHead chunked;
    private final TensorMap hidden;
    private final TensorMap weight;
    private final Kernel statistics;
    private final Kernel statisticsBest;
    private final Kernel gradient;
    private final Kernel pack;
    private final Kernel merge;
    private final Kernel mergeFull;
    private final Kernel factors;
    private final int clusters;

    HopperHead(CudaDevice cuda, ChunkedHead chunked) {
        this.cuda = cuda;
        this.chunked = chunked;
        this.hidden = matrix(cuda);
        this.weight = matrix(cuda);
        Program own = cuda.program("head/hopper");
        this.statistics = own.kernel("head_statistics");
        this.statisticsBest = own.kernel("head_statistics_best");
        this.gradient = own.kernel("head_gradient");
        Program entropy = cuda.program("entropy/portable");
        this.pack = entropy.kernel("entropy_pack");
        this.merge = entropy.kernel("entropy_merge");
        this.mergeFull = entropy.kernel("entropy_merge_full");
        this.factors = entropy.kernel("entropy_backward_factors");
        statistics.cluster(CLUSTER, 1, 1);
        statisticsBest.cluster(CLUSTER, 1, 1);
        gradient.cluster(CLUSTER, 1, 1);
        this.clusters = statistics.activeClusters(CLUSTER_THREADS, SHARED_BYTES);
    }

    private static TensorMap matrix(CudaDevice cuda) {
        return cuda.tensorMap(TensorMap.Element.BFLOAT16, 2)
                .swizzle(TensorMap.Swizzle.B128)
                .promotion(TensorMap.Promotion.B256);
    }

    /// Whether a device has what these kernels need.
    static boolean runsOn(CudaDevice cuda) {
        return cuda.properties().computeMajor() == 9;
    }

    /// Whether these kernels take the operands: TMA wants rows on 16 bytes.
    private static boolean takes(Input input) {
        return input.hidden().dtype() == DType.BF16
                && input.rows() > FEW_ROWS
                && input.width() * BYTES % ACCESS_BYTES == 0
                && (input.hidden().address() | input.weight().address()) % ACCESS_BYTES == 0;
    }

    @Override
    public void forward(Input input, Entropy.Results results) {
        if (!takes(input) || results.set() != null) {
            chunked.forward(input, results);
            return;
        }
        ChunkedHead.check(input);
        int rows = input.rows();
        int vocab = input.vocab();
        long target = input.targets().require("targets", DType.I32, rows);
        long bans = address("banned", input.banned(), DType.U8, vocab);
        long toLogProb = results.logProb().require("logProb", DType.F32, rows);
        long toEntropy = address("entropy", results.entropy(), DType.F32, rows);
        long toLse = address("lse", results.lse(), DType.F32, rows);
        long toMaxProb = address("maxProb", results.maxProb(), DType.F32, rows);
        long toArgmax = address("argmax", results.argmax(), DType.I32, rows);
        boolean best = toArgmax != 0;
        int segments = Math.ceilDiv(vocab, SEGMENT);
        float inverse = 1f / input.temperature();
        encode(input);
        long parts = (long) rows * segments;
        try (DeviceBuffer bits = packed(vocab, bans);
                DeviceBuffer sums = cuda.allocate(PART_BYTES * parts);
                DeviceBuffer words = cuda.allocate(Integer.BYTES * (best ? parts : 1));
                DeviceBuffer targetLogits = cuda.allocate((long) Float.BYTES * rows)) {
            (best ? statisticsBest : statistics)
                    .begin()
                    .tensorMap(hidden)
                    .tensorMap(weight)
                    .int32(rows)
                    .int32(vocab)
                    .int32(input.width())
                    .float32(inverse)
                    .pointer(target)
                    .pointer(bits.address())
                    .pointer(sums.address())
                    .pointer(words.address())
                    .pointer(targetLogits.address())
                    .launch(blocks(rows, vocab), 1, 1, CLUSTER_THREADS, SHARED_BYTES);
            (best ? mergeFull : merge)
                    .begin()
                    .int32(rows)
                    .int32(vocab)
                    .int32(segments)
                    .int64(1)
                    .float32(inverse)
                    .pointer(targetLogits.address())
                    .int32(TARGETS_F32)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(sums.address())
                    .pointer(words.address())
                    .pointer(toLogProb)
                    .pointer(toEntropy)
                    .pointer(toLse)
                    .pointer(toMaxProb)
                    .pointer(toArgmax)
                    .pointer(0)
                    .pointer(cuda.faultAddress())
                    .launch(Math.ceilDiv(rows, MERGED_ROWS), THREADS);
        }
    }

    @Override
    public void backward(
            Input input,
            Span logProb,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            @Nullable Span dHidden,
            @Nullable Span dWeight) {
        if (!takes(input)) {
            chunked.backward(input, logProb, entropy, lse, dLogProb, dEntropy, dHidden, dWeight);
            return;
        }
        ChunkedHead.check(input);
        int rows = input.rows();
        int vocab = input.vocab();
        long target = input.targets().require("targets", DType.I32, rows);
        long bans = address("banned", input.banned(), DType.U8, vocab);
        float inverse = 1f / input.temperature();
        int chunk = ChunkedHead.wordsAtOnce(rows, vocab, BYTES, input.scratchBytes());
        try (DeviceBuffer rowFactors = cuda.allocate((long) PART_BYTES * rows);
                DeviceBuffer bits = packed(vocab, bans);
                DeviceBuffer dLogits = cuda.allocate((long) BYTES * rows * chunk)) {
            factors.begin()
                    .int32(rows)
                    .int32(vocab)
                    .int64(1)
                    .float32(inverse)
                    .pointer(0)
                    .int32(0)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(logProb.require("logProb", DType.F32, rows))
                    .pointer(entropy.require("entropy", DType.F32, rows))
                    .pointer(lse.require("lse", DType.F32, rows))
                    .pointer(address("dLogProb", dLogProb, DType.F32, rows))
                    .pointer(address("dEntropy", dEntropy, DType.F32, rows))
                    .pointer(rowFactors.address())
                    .pointer(cuda.faultAddress())
                    .launch(Math.ceilDiv(rows, THREADS), THREADS);
            chunked.products(
                    input,
                    chunk,
                    (first, words, to) -> {
                        encode(input);
                        gradient.begin()
                                .tensorMap(hidden)
                                .tensorMap(weight)
                                .int32(rows)
                                .int32(first)
                                .int32(words)
                                .int32(input.width())
                                .float32(inverse)
                                .pointer(target)
                                .pointer(bits.address())
                                .pointer(rowFactors.address())
                                .pointer(to.address())
                                .launch(
                                        blocks(rows, first % BLOCK + words),
                                        1,
                                        1,
                                        CLUSTER_THREADS,
                                        SHARED_BYTES);
                    },
                    Span.of(dLogits, DType.BF16),
                    dHidden,
                    dWeight);
        }
    }

    private void encode(Input input) {
        describe(hidden, input.hidden(), input.rows(), input.width(), ROWS);
        describe(weight, input.weight(), input.vocab(), input.width(), SHARE);
    }

    private static void describe(TensorMap map, Span matrix, int lines, int width, int boxLines) {
        map.address(matrix.address())
                .dimension(0, width, DEPTH)
                .dimension(1, lines, (long) width * BYTES, boxLines)
                .encode();
    }

    /// As many blocks as run at once, or as there is work for.
    ///
    /// @param words from the first block of words on that is touched
    private int blocks(int rows, int words) {
        long units = (long) Math.ceilDiv(rows, ROWS * CLUSTER) * Math.ceilDiv(words, SEGMENT);
        return (int) Math.min(clusters, units) * CLUSTER;
    }

    /// A bit for each word: banned, or beyond the last one up to the end of its segment.
    private DeviceBuffer packed(int vocab, long banned) {
        int numbers = Math.ceilDiv(vocab, SEGMENT) * (SEGMENT / Integer.SIZE);
        DeviceBuffer bits = cuda.allocate((long) Integer.BYTES * numbers);
        pack.begin()
                .int32(vocab)
                .int32(numbers)
                .int32(1)
                .pointer(banned)
                .pointer(bits.address())
                .launch(Math.ceilDiv(numbers, THREADS), THREADS);
        return bits;
    }

    private static long address(String operand, @Nullable Span span, DType type, long elements) {
        return span == null ? 0 : span.require(operand, type, elements);
    }
}
