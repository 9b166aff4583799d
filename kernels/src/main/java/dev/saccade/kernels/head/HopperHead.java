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

/// The head on Hopper: logits stay in the registers of the product (`head/hopper.cu`, and for few
/// rows `head/hopper_few.cu`). What that does not take goes to [ChunkedHead], whose bits are the
/// same.
final class HopperHead implements Head {
    /// Up to this many rows the product is reading the weight, and has kernels of its own for that.
    private static final int FEW_ROWS = 64;

    /// Up to this many rows a part of a row's words is a block: then there is work for all
    /// multiprocessors until the end. With more there is anyhow, and parts would be many.
    private static final int ROWS_OF_SMALL_PARTS = 2048;

    private static final int ACCESS_BYTES = 16;
    private static final int BYTES = 2;

    /// The numbers of `head/hopper.cu` and `head/hopper_few.cu`.
    private static final int CLUSTER = 2;

    private static final int ROWS = 128;
    private static final int DEPTH = 64;
    private static final int SHARE = 128;
    private static final int BLOCK = 256;
    private static final int SEGMENT = 1024;
    private static final int BLOCK_THREADS = 384;
    private static final int SHARED_BYTES = 196_672;
    private static final int GRADIENT_SHARED_BYTES = 230_400;
    private static final int FEW_SHARED_BYTES = 204_880;
    private static final int BOX_ROWS = 16;
    private static final int BOX_WORDS = 64;

    private static final int THREADS = 256;
    private static final int MERGED_ROWS = THREADS / 32;

    /// Bytes of the sums that are kept of a part, and of what is kept of a row in the backward
    /// pass.
    private static final int PART_BYTES = 16;

    /// The merge's name for targets' logits that lie alone.
    private static final int TARGETS_F32 = 2;

    private final CudaDevice cuda;
    private final ChunkedHead chunked;
    private final TensorMap hidden;
    private final TensorMap weight;
    private final TensorMap gradients;
    private final Kernel statistics;
    private final Kernel statisticsFull;
    private final Kernel draw;
    private final Kernel drawMass;
    private final Kernel drawMerge;
    private final Kernel drawMergeMass;
    private final Kernel gradient;
    private final Kernel fewStatistics;
    private final Kernel fewStatisticsFull;
    private final Kernel fewDraw;
    private final Kernel fewDrawMass;
    private final Kernel pack;
    private final Kernel merge;
    private final Kernel mergeFull;
    private final Kernel factors;
    private final int clusters;
    private final int fewBlocks;

    HopperHead(CudaDevice cuda, ChunkedHead chunked) {
        this(cuda, chunked, Integer.MAX_VALUE);
    }

    /// @param mostClusters clusters, or for few rows blocks, that are launched at most; few of them
    ///   take many tiles each
    HopperHead(CudaDevice cuda, ChunkedHead chunked, int mostClusters) {
        this.cuda = cuda;
        this.chunked = chunked;
        this.hidden = matrix(cuda);
        this.weight = matrix(cuda);
        this.gradients =
                cuda.tensorMap(TensorMap.Element.BFLOAT16, 2).swizzle(TensorMap.Swizzle.B128);
        Program own = cuda.program("head/hopper");
        this.statistics = own.kernel("head_statistics");
        this.statisticsFull = own.kernel("head_statistics_full");
        this.draw = own.kernel("head_draw");
        this.drawMass = own.kernel("head_draw_mass");
        this.drawMerge = own.kernel("head_draw_merge");
        this.drawMergeMass = own.kernel("head_draw_merge_mass");
        this.gradient = own.kernel("head_gradient");
        Program few = cuda.program("head/hopper_few");
        this.fewStatistics = few.kernel("head_few_statistics");
        this.fewStatisticsFull = few.kernel("head_few_statistics_full");
        this.fewDraw = few.kernel("head_few_draw");
        this.fewDrawMass = few.kernel("head_few_draw_mass");
        Program entropy = cuda.program("entropy/portable");
        this.pack = entropy.kernel("entropy_pack");
        this.merge = entropy.kernel("entropy_merge");
        this.mergeFull = entropy.kernel("entropy_merge_full");
        this.factors = entropy.kernel("entropy_backward_factors");
        statistics.cluster(CLUSTER, 1, 1);
        statisticsFull.cluster(CLUSTER, 1, 1);
        draw.cluster(CLUSTER, 1, 1);
        drawMass.cluster(CLUSTER, 1, 1);
        gradient.cluster(CLUSTER, 1, 1);
        this.clusters =
                Math.min(
                        mostClusters,
                        gradient.activeClusters(BLOCK_THREADS, GRADIENT_SHARED_BYTES));
        this.fewBlocks = Math.min(mostClusters, cuda.properties().multiprocessors());
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
                && input.rows() > 0
                && input.width() * BYTES % ACCESS_BYTES == 0
                && (input.hidden().address() | input.weight().address()) % ACCESS_BYTES == 0;
    }

    /// Whether a draw is faster without stored logits: one of a cluster's two tiles without rows
    /// costs more than the logits of so few (569 us against 528 for 128 rows at a width of 3584).
    private static boolean paysToDraw(int rows) {
        return rows <= FEW_ROWS || rows > ROWS;
    }

    /// How the words of each row are divided into parts.
    ///
    /// @param words of a part
    /// @param count parts of a row
    private record Parts(int words, int count) {
        static Parts of(Input input) {
            int words = input.rows() <= ROWS_OF_SMALL_PARTS ? BLOCK : SEGMENT;
            return new Parts(words, Math.ceilDiv(input.vocab(), words));
        }

        int blocks() {
            return words / BLOCK;
        }
    }

    /// What is asked for, and where it goes.
    private record Addresses(
            long logProb, long entropy, long lse, long maxProb, long argmax, long set, long mass) {
        static Addresses of(Entropy.Results results, int rows, int vocab) {
            return new Addresses(
                    results.logProb().require("logProb", DType.F32, rows),
                    address("entropy", results.entropy(), DType.F32, rows),
                    address("lse", results.lse(), DType.F32, rows),
                    address("maxProb", results.maxProb(), DType.F32, rows),
                    address("argmax", results.argmax(), DType.I32, rows),
                    address("set", results.set(), DType.U8, vocab),
                    address("mass", results.mass(), DType.F32, rows));
        }
    }

    @Override
    public void forward(Input input, Entropy.Results results) {
        if (!takes(input)) {
            chunked.forward(input, results);
            return;
        }
        ChunkedHead.check(input);
        int rows = input.rows();
        int vocab = input.vocab();
        long target = input.targets().require("targets", DType.I32, rows);
        long bans = address("banned", input.banned(), DType.U8, vocab);
        Addresses to = Addresses.of(results, rows, vocab);
        boolean full = to.argmax != 0 || to.set != 0;
        boolean few = rows <= FEW_ROWS;
        float inverse = 1f / input.temperature();
        Parts parts = Parts.of(input);
        long all = (long) rows * parts.count;
        try (DeviceBuffer bits = few ? nothing() : packed(vocab, bans);
                DeviceBuffer members = few || to.set == 0 ? nothing() : packed(vocab, to.set);
                DeviceBuffer sums = cuda.allocate(PART_BYTES * all);
                DeviceBuffer words = cuda.allocate(Integer.BYTES * (full ? all : 1));
                DeviceBuffer targetLogits = cuda.allocate((long) Float.BYTES * rows)) {
            Kernel product;
            if (few) {
                product = begin(full ? fewStatisticsFull : fewStatistics, input, parts, true);
            } else {
                product = begin(full ? statisticsFull : statistics, input, parts, false);
            }
            product.float32(inverse)
                    .pointer(target)
                    .pointer(few ? bans : bits.address())
                    .pointer(few || to.set == 0 ? to.set : members.address())
                    .pointer(sums.address())
                    .pointer(words.address())
                    .pointer(targetLogits.address());
            launch(product, input, parts, few);
            (full ? mergeFull : merge)
                    .begin()
                    .int32(rows)
                    .int32(vocab)
                    .int32(parts.count)
                    .int32(parts.blocks())
                    .int64(1)
                    .float32(inverse)
                    .pointer(targetLogits.address())
                    .int32(TARGETS_F32)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(sums.address())
                    .pointer(words.address())
                    .pointer(to.logProb)
                    .pointer(to.entropy)
                    .pointer(to.lse)
                    .pointer(to.maxProb)
                    .pointer(to.argmax)
                    .pointer(to.mass)
                    .pointer(cuda.faultAddress())
                    .launch(Math.ceilDiv(rows, MERGED_ROWS), THREADS);
        }
    }

    @Override
    public void sample(Input input, Draw how, Entropy.Results results) {
        if (!takes(input)
                || !paysToDraw(input.rows())
                || how.options().cuts()
                || results.argmax() != null) {
            chunked.sample(input, how, results);
            return;
        }
        ChunkedHead.check(input);
        ChunkedHead.check(input, how);
        int rows = input.rows();
        int vocab = input.vocab();
        boolean greedy = how.options().greedy();
        boolean few = rows <= FEW_ROWS;
        long tokens = input.targets().require("targets", DType.I32, rows);
        long bans = address("banned", input.banned(), DType.U8, vocab);
        long withheld = address("withheld", how.withheld(), DType.U8, vocab);
        long forced = address("forced", how.forced(), DType.I32, rows);
        Addresses to = Addresses.of(results, rows, vocab);
        float inverse = 1f / input.temperature();
        Parts parts = Parts.of(input);
        long all = (long) rows * parts.count;
        try (DeviceBuffer bits = few ? nothing() : packed(vocab, bans);
                DeviceBuffer more = few || withheld == 0 ? nothing() : packed(vocab, withheld);
                DeviceBuffer members = few || to.set == 0 ? nothing() : packed(vocab, to.set);
                DeviceBuffer sums = cuda.allocate(PART_BYTES * all);
                DeviceBuffer entries = cuda.allocate(Long.BYTES * all);
                DeviceBuffer logits = cuda.allocate(Float.BYTES * all);
                DeviceBuffer forcedLogits = cuda.allocate((long) Float.BYTES * rows)) {
            Kernel kernel;
            if (few) {
                kernel = to.set == 0 ? fewDraw : fewDrawMass;
            } else {
                kernel = to.set == 0 ? draw : drawMass;
            }
            Kernel product = begin(kernel, input, parts, few);
            product.float32(inverse)
                    .float32(greedy ? 1f : inverse)
                    .int32(greedy ? 0 : 1)
                    .pointer(how.keys().require("keys", DType.I64, rows))
                    .pointer(how.positions().require("positions", DType.I32, rows))
                    .pointer(forced)
                    .pointer(few ? bans : bits.address())
                    .pointer(few || withheld == 0 ? withheld : more.address())
                    .pointer(few || to.set == 0 ? to.set : members.address())
                    .pointer(sums.address())
                    .pointer(entries.address())
                    .pointer(logits.address())
                    .pointer(forcedLogits.address());
            launch(product, input, parts, few);
            (to.set == 0 ? drawMerge : drawMergeMass)
                    .begin()
                    .int32(rows)
                    .int32(vocab)
                    .int32(parts.count)
                    .int32(parts.blocks())
                    .float32(inverse)
                    .pointer(forced)
                    .pointer(bans)
                    .pointer(sums.address())
                    .pointer(entries.address())
                    .pointer(logits.address())
                    .pointer(forcedLogits.address())
                    .pointer(tokens)
                    .pointer(to.logProb)
                    .pointer(to.entropy)
                    .pointer(to.lse)
                    .pointer(to.maxProb)
                    .pointer(to.mass)
                    .pointer(cuda.faultAddress())
                    .launch(Math.ceilDiv(rows, MERGED_ROWS), THREADS);
        }
    }

    /// Begins the launch of a product whose logits end in parts.
    private Kernel begin(Kernel kernel, Input input, Parts parts, boolean few) {
        if (few) {
            describe(hidden, input.hidden(), input.rows(), input.width(), FEW_ROWS);
            describe(weight, input.weight(), input.vocab(), input.width(), BLOCK);
        } else {
            encode(input);
        }
        Kernel begun = kernel.begin().tensorMap(hidden).tensorMap(weight).int32(input.rows());
        if (!few) {
            begun.int32(parts.count).int32(parts.words);
        }
        return begun.int32(input.vocab()).int32(input.width());
    }

    private void launch(Kernel product, Input input, Parts parts, boolean few) {
        if (few) {
            product.launch(Math.min(fewBlocks, parts.count), 1, 1, BLOCK_THREADS, FEW_SHARED_BYTES);
        } else {
            product.launch(blocks(input.rows(), parts.count), 1, 1, BLOCK_THREADS, SHARED_BYTES);
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
        if (!takes(input) || input.rows() <= FEW_ROWS) {
            chunked.backward(input, logProb, entropy, lse, dLogProb, dEntropy, dHidden, dWeight);
            return;
        }
        ChunkedHead.check(input);
        int rows = input.rows();
        int vocab = input.vocab();
        long target = input.targets().require("targets", DType.I32, rows);
        long bans = address("banned", input.banned(), DType.U8, vocab);
        float inverse = 1f / input.temperature();
        int chunk = wordsAtOnce(rows, vocab, clusters, input.scratchBytes());
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
                        boolean boxed = words * BYTES % ACCESS_BYTES == 0;
                        if (boxed) {
                            gradients
                                    .address(to.address())
                                    .dimension(0, words, BOX_WORDS)
                                    .dimension(1, rows, (long) words * BYTES, BOX_ROWS)
                                    .encode();
                        }
                        gradient.begin()
                                .tensorMap(hidden)
                                .tensorMap(weight)
                                .tensorMap(boxed ? gradients : weight)
                                .int32(rows)
                                .int32(first)
                                .int32(words)
                                .int32(input.width())
                                .float32(inverse)
                                .pointer(target)
                                .pointer(bits.address())
                                .pointer(rowFactors.address())
                                .pointer(to.address())
                                .int32(boxed ? 1 : 0)
                                .launch(
                                        blocks(rows, Math.ceilDiv(first % BLOCK + words, BLOCK)),
                                        1,
                                        1,
                                        BLOCK_THREADS,
                                        GRADIENT_SHARED_BYTES);
                    },
                    Span.of(dLogits, DType.BF16),
                    dHidden,
                    dWeight);
        }
    }

    /// How many words' gradients are held at once: where there is room, so many blocks that all
    /// clusters have the same number of tiles, in the product that makes them and in the one that
    /// takes them to dW.
    static int wordsAtOnce(int rows, int vocab, int clusters, long bytes) {
        long most = bytes / ((long) BYTES * rows);
        long round = (long) clusters * BLOCK;
        if (most >= round && most < vocab) {
            return (int) (most / round * round);
        }
        return ChunkedHead.wordsAtOnce(rows, vocab, BYTES, bytes);
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
    /// @param parts of the words
    private int blocks(int rows, int parts) {
        long units = (long) Math.ceilDiv(rows, ROWS * CLUSTER) * parts;
        return (int) Math.min(clusters, units) * CLUSTER;
    }

    /// A bit for each word: its flag, or beyond the last one up to the end of its segment.
    private DeviceBuffer packed(int vocab, long flags) {
        int numbers = Math.ceilDiv(vocab, SEGMENT) * (SEGMENT / Integer.SIZE);
        DeviceBuffer bits = cuda.allocate((long) Integer.BYTES * numbers);
        pack.begin()
                .int32(vocab)
                .int32(numbers)
                .int32(1)
                .pointer(flags)
                .pointer(bits.address())
                .launch(Math.ceilDiv(numbers, THREADS), THREADS);
        return bits;
    }

    /// In the place of memory that isn't needed.
    private DeviceBuffer nothing() {
        return cuda.allocate(Integer.BYTES);
    }

    private static long address(String operand, @Nullable Span span, DType type, long elements) {
        return span == null ? 0 : span.require(operand, type, elements);
    }
}
