package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/// Attention on CUDA. Rows of a tile are the packed rows of a key-value head: each query's heads of
/// the group in turn. See the kernels in `cuda/attention` for what decides the bits. On Hopper, the
/// passes forward and backward in BF16 go to [HopperAttention] where that has kernels: the one
/// place where that is chosen. Keys in two ranges have kernels only there ([HopperRanges]).
final class CudaAttention implements Attention {
    private static final double LOG2_E = 1.4426950408889634;

    /// Threads of a block that works on a tile, and of one that works on rows.
    private static final int THREADS = 128;

    private static final int ROW_THREADS = 256;

    /// Lists of tiles that are kept: a step uses a few for the language model and a few for images,
    /// in every layer the same.
    private static final int LISTS = 12;

    /// The bf16 kernels read 16 bytes at a time.
    private static final int ALIGNMENT = 16;

    private static final int CHUNK = ALIGNMENT / 2;

    /// The kernels of one type and padded head dimension, and how they are launched.
    ///
    /// @param forwardRows rows of a forward tile
    /// @param backwardTile rows or keys of a backward tile
    /// @param decodeRows packed rows that a block of decode, or of the walk over shared pages,
    ///   takes
    /// @param statisticsLanes threads for a row's statistics
    private record Kernels(
            Kernel forward,
            Kernel decode,
            Kernel prefix,
            Kernel keysBackward,
            Kernel queriesBackward,
            Kernel statistics,
            int forwardRows,
            int backwardTile,
            int decodeRows,
            int statisticsLanes,
            int forwardShared,
            int decodeShared,
            int keysBackwardShared,
            int queriesBackwardShared) {

        static Kernels bf16(CudaDevice device, int width) {
            String suffix = "_" + width + "_bf16";
            Program backward = device.program("attention/backward");
            Program decode = device.program("attention/decode");
            int row = 2 * width;
            int stages = width == 128 ? 3 : width == 64 ? 4 : 6;
            if (decodeShared(width, stages) + 2048 > device.properties().sharedBytesPerBlock()) {
                stages = 2;
            }
            int backwardShared = 6 * 64 * row;
            return new Kernels(
                    device.program("attention/forward").kernel("forward" + suffix),
                    decode.kernel("decode_%d_%d_bf16".formatted(width, stages)),
                    decode.kernel("prefix_%d_%d_bf16".formatted(width, stages)),
                    backward.kernel("keys_backward" + suffix),
                    backward.kernel("queries_backward" + suffix),
                    device.program("attention/rows").kernel("statistics_bf16"),
                    128,
                    64,
                    16,
                    16,
                    (128 + 4 * 64) * row,
                    decodeShared(width, stages),
                    backwardShared,
                    backwardShared);
        }

        /// Beside the 2 KiB that the kernel itself sets aside.
        private static int decodeShared(int width, int stages) {
            return (stages * 2 * 64 + 16) * 2 * width + 16 * 64 * 2;
        }

        static Kernels f32(CudaDevice device, int width) {
            String suffix = "_" + width + "_f32";
            Program program = device.program("attention/single");
            int row = 4 * (width + 4);
            int forwardRows = width == 256 ? 16 : 32;
            int backwardTile = width == 256 ? 12 : 16;
            int block = 32 * 4;
            return new Kernels(
                    program.kernel("forward" + suffix),
                    program.kernel("decode" + suffix),
                    program.kernel("prefix" + suffix),
                    program.kernel("keys_backward" + suffix),
                    program.kernel("queries_backward" + suffix),
                    device.program("attention/rows").kernel("statistics_f32"),
                    forwardRows,
                    backwardTile,
                    8,
                    32,
                    (64 + forwardRows) * row + forwardRows * block,
                    (64 + 8) * row + 8 * block,
                    (64 + 2 * backwardTile) * row + 2 * backwardTile * block,
                    (64 + 2 * backwardTile) * row + backwardTile * block);
        }
    }

    private final CudaDevice device;
    private final @Nullable Kernels[] kernels = new @Nullable Kernels[7];
    private @Nullable Kernel resize;
    private final RecentLists<TileList.Key, TileList> lists;
    private final @Nullable HopperAttention hopper;
    private final @Nullable HopperPrefix hopperPrefix;
    private final @Nullable HopperRanges hopperRanges;

    CudaAttention(CudaDevice device) {
        this(device, HopperAttention.runsOn(device) ? new HopperAttention(device) : null);
    }

    /// @param hopper null where all kernels are portable
    CudaAttention(CudaDevice device, @Nullable HopperAttention hopper) {
        this.device = device;
        this.lists =
                new RecentLists<>(
                        LISTS, key -> TileList.upload(device, key), list -> list.buffer().close());
        this.hopper = hopper;
        this.hopperPrefix =
                hopper == null || HopperPrefix.isLeftOut() ? null : new HopperPrefix(device);
        this.hopperRanges =
                hopper == null || HopperPrefix.isLeftOut()
                        ? null
                        : new HopperRanges(device, hopper);
    }

    @Override
    public void forward(
            Shape shape, Sequences sequences, Span q, Span k, Span v, Span o, Span lse) {
        HostAttention.check(shape, sequences);
        ForwardOperands operands = new ForwardOperands(q, k, v, o, lse);
        filled(
                shape,
                sequences.queryRows(),
                sequences.keyRows(),
                operands,
                (filled, regular) -> forward(filled, sequences, regular));
    }

    private void forward(Shape shape, Sequences sequences, ForwardOperands operands) {
        DType type = operands.q().dtype();
        if (hopper != null && type == DType.BF16) {
            HopperForward kernel = hopper.choose(shape, sequences);
            if (kernel != null) {
                int tile = kernel.rows();
                TileList tiles = tiles(shape, sequences, TileList.Side.LAST_ROWS, tile, 1);
                hopper.launch(kernel, shape, sequences, operands, tiles, scaleLog2(shape));
                return;
            }
        }
        Kernels kernels = kernels(type, shape.headDim());
        TileList tiles = tiles(shape, sequences, TileList.Side.ROWS, kernels.forwardRows);
        operands(kernels.forward, operands.q(), operands.k(), operands.v())
                .pointer(operands.o().address())
                .pointer(operands.lse().address())
                .pointer(tiles.address())
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(shape.headDim())
                .int32(shape.causal() ? 1 : 0)
                .int32(reciprocal(group(shape)))
                .float32(scaleLog2(shape))
                .launch(blocks(tiles, shape), 1, 1, THREADS, kernels.forwardShared);
    }

    @Override
    public void decode(
            Shape shape,
            Pages pages,
            @Nullable Prefixes prefixes,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse) {
        DType type = type(shape, q);
        int rows = Math.multiplyExact(pages.tokens(), shape.heads());
        long elements = (long) rows * shape.headDim();
        q.require("q", type, elements);
        k.require("k", type, 0);
        v.require("v", type, k.length());
        o.require("o", type, elements);
        lse.require("lse", DType.F32, rows);
        long table =
                pages.table().require("table", DType.I32, (long) pages.sequences() * pages.width());
        long length = pages.keyLength().require("keyLength", DType.I32, pages.sequences());
        if (isIrregular(shape, type, q, k, v, o)) {
            try (Padded padded = new Padded(shape)) {
                decode(
                        padded.shape,
                        pages,
                        prefixes,
                        padded.input(q),
                        padded.input(k),
                        padded.input(v),
                        padded.output(o),
                        lse);
                padded.finish();
            }
            return;
        }
        int largest = prefixes == null ? 1 : prefixes.largest();
        int packed = Math.multiplyExact(Math.multiplyExact(largest, pages.queries()), group(shape));
        requireDivisible((long) largest * pages.queries(), group(shape));
        Kernels kernels = kernels(type, shape.headDim());
        int pageCount =
                Math.toIntExact(k.length() / ((long) shape.kvHeads() * shape.headDim()) / PAGE);
        long state = 0;
        long shared = 0;
        if (prefixes != null) {
            long needed = Attention.stateElements(shape, pages.tokens());
            long start = prefixes.start().require("start", DType.I32, prefixes.groups() + 1L);
            shared = prefixes.shared().require("shared", DType.I32, pages.sequences());
            state = prefixes.state().require("state", DType.F32, needed);
            if (state % ALIGNMENT != 0) {
                throw new IllegalArgumentException("state does not begin on 16 bytes");
            }
            if (hopperPrefix != null
                    && type == DType.BF16
                    && HopperPrefix.supports(shape.headDim())) {
                hopperPrefix.launch(
                        shape,
                        pages,
                        prefixes,
                        q,
                        k,
                        v,
                        pageCount,
                        reciprocal(group(shape)),
                        scaleLog2(shape));
            } else {
                operands(kernels.prefix, q, k, v)
                        .pointer(state)
                        .pointer(table)
                        .pointer(start)
                        .pointer(shared)
                        .int32(pages.queries())
                        .int32(pages.width())
                        .int32(pageCount)
                        .int32(shape.heads())
                        .int32(shape.kvHeads())
                        .int32(shape.headDim())
                        .int32(reciprocal(group(shape)))
                        .float32(scaleLog2(shape))
                        .pointer(device.faultAddress())
                        .launch(
                                Math.multiplyExact(prefixes.groups(), shape.kvHeads()),
                                Math.ceilDiv(packed, kernels.decodeRows),
                                1,
                                THREADS,
                                kernels.decodeShared);
            }
        }
        operands(kernels.decode, q, k, v)
                .pointer(o.address())
                .pointer(lse.address())
                .pointer(state)
                .pointer(table)
                .pointer(length)
                .pointer(shared)
                .int32(pages.queries())
                .int32(pages.width())
                .int32(pageCount)
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(shape.headDim())
                .int32(reciprocal(group(shape)))
                .float32(scaleLog2(shape))
                .pointer(device.faultAddress())
                .launch(
                        Math.multiplyExact(pages.sequences(), shape.kvHeads()),
                        Math.ceilDiv(pages.queries() * group(shape), kernels.decodeRows),
                        1,
                        THREADS,
                        kernels.decodeShared);
    }

    @Override
    public void backward(
            Shape shape,
            Sequences sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv) {
        HostAttention.check(shape, sequences);
        ForwardOperands forward = new ForwardOperands(q, k, v, o, lse);
        filled(
                shape,
                sequences.queryRows(),
                sequences.keyRows(),
                new BackwardOperands(forward, dO, dq, dk, dv),
                (filled, regular) -> backward(filled, sequences, regular));
    }

    private void backward(Shape shape, Sequences sequences, BackwardOperands operands) {
        DType type = operands.q().dtype();
        if (hopper != null && type == DType.BF16 && hopper.choose(shape, sequences) != null) {
            if (OrderedBackward.supports(shape.headDim())) {
                Prefixed plain = KeyBlocks.plain(sequences);
                hopper.ordered().launch(shape, plain, operands, scaleLog2(shape));
                return;
            }
            int tile = HopperBackward.ROWS;
            TileList keys = tiles(shape, sequences, TileList.Side.KEYS, tile, 1);
            TileList queries = tiles(shape, sequences, TileList.Side.ROWS, tile, 1);
            hopper.backward().launch(shape, sequences, operands, keys, queries, scaleLog2(shape));
            return;
        }
        Span q = operands.q();
        Span k = operands.k();
        Span v = operands.v();
        long dO = operands.dO().address();
        int rows = Math.multiplyExact(sequences.queryRows(), shape.heads());
        Kernels kernels = kernels(type, shape.headDim());
        int tile = kernels.backwardTile;
        try (DeviceBuffer statistics = device.allocate(Math.max(1, 8L * rows))) {
            kernels.statistics
                    .begin()
                    .pointer(operands.forward().o().address())
                    .pointer(dO)
                    .pointer(operands.forward().lse().address())
                    .pointer(statistics.address())
                    .int32(rows)
                    .int32(shape.headDim())
                    .launch(Math.ceilDiv(rows, ROW_THREADS / kernels.statisticsLanes), ROW_THREADS);
            TileList keys = tiles(shape, sequences, TileList.Side.KEYS, tile);
            Kernel keysBackward = operands(kernels.keysBackward, q, k, v);
            keysBackward
                    .pointer(dO)
                    .pointer(statistics.address())
                    .pointer(operands.dk().address())
                    .pointer(operands.dv().address())
                    .pointer(keys.address())
                    .int32(shape.heads())
                    .int32(shape.kvHeads())
                    .int32(shape.headDim())
                    .int32(shape.causal() ? 1 : 0);
            if (type == DType.F32) {
                keysBackward.int32(reciprocal(group(shape))); // it packs the heads of a group
            }
            keysBackward
                    .float32(shape.scale())
                    .float32(scaleLog2(shape))
                    .launch(blocks(keys, shape), 1, 1, THREADS, kernels.keysBackwardShared);
            TileList queries = tiles(shape, sequences, TileList.Side.ROWS, tile);
            operands(kernels.queriesBackward, q, k, v)
                    .pointer(dO)
                    .pointer(statistics.address())
                    .pointer(operands.dq().address())
                    .pointer(queries.address())
                    .int32(shape.heads())
                    .int32(shape.kvHeads())
                    .int32(shape.headDim())
                    .int32(shape.causal() ? 1 : 0)
                    .int32(reciprocal(group(shape)))
                    .float32(shape.scale())
                    .float32(scaleLog2(shape))
                    .launch(blocks(queries, shape), 1, 1, THREADS, kernels.queriesBackwardShared);
        }
    }

    /// Whether a call with prefixes is one for [#forward(Shape, Prefixed, Span, Span, Span, Span,
    /// Span)]: a function of shape and type alone.
    boolean walksRanges(Shape shape, DType type) {
        int filled = Math.ceilDiv(shape.headDim(), CHUNK) * CHUNK; // as Padded does
        return hopperRanges != null && type == DType.BF16 && HopperForward.supports(filled);
    }

    /// Whether the way back of such a call is one for [#backward(Shape, Prefixed, Span, Span, Span,
    /// Span, Span, Span, Span, Span, Span)]: where dq is added up by blocks of keys, those may not
    /// depend on other sequences.
    boolean walksRangesBack(Shape shape, DType type, Prefixed sequences) {
        int filled = Math.ceilDiv(shape.headDim(), CHUNK) * CHUNK;
        return walksRanges(shape, type)
                && (!OrderedBackward.supports(filled) || KeyBlocks.areWhole(sequences));
    }

    /// As [PrefixedAttention#forward].
    void forward(Shape shape, Prefixed sequences, Span q, Span k, Span v, Span o, Span lse) {
        HopperRanges ranges = requireRanges(shape, sequences);
        filled(
                shape,
                sequences.own().queryRows(),
                sequences.keyRows(),
                new ForwardOperands(q, k, v, o, lse),
                (filled, in) -> ranges.forward(filled, sequences, in, scaleLog2(shape)));
    }

    /// As [PrefixedAttention#backward].
    void backward(
            Shape shape,
            Prefixed sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv) {
        HopperRanges ranges = requireRanges(shape, sequences);
        ForwardOperands forward = new ForwardOperands(q, k, v, o, lse);
        filled(
                shape,
                sequences.own().queryRows(),
                sequences.keyRows(),
                new BackwardOperands(forward, dO, dq, dk, dv),
                (filled, in) -> ranges.backward(filled, sequences, in, scaleLog2(shape)));
    }

    /// Runs a call whose operands are what is asked for; on copies where kernels can't read them.
    private void filled(
            Shape shape,
            int queryRows,
            int keyRows,
            ForwardOperands operands,
            BiConsumer<Shape, ForwardOperands> call) {
        DType type = type(shape, operands.q());
        operands.require(shape, type, queryRows, keyRows);
        if (isIrregular(shape, type, operands.typed())) {
            try (Padded padded = new Padded(shape)) {
                call.accept(padded.shape, padded.forward(operands, padded::output));
                padded.finish();
            }
        } else {
            call.accept(shape, operands);
        }
    }

    private void filled(
            Shape shape,
            int queryRows,
            int keyRows,
            BackwardOperands operands,
            BiConsumer<Shape, BackwardOperands> call) {
        DType type = type(shape, operands.q());
        operands.require(shape, type, queryRows, keyRows);
        if (isIrregular(shape, type, operands.typed())) {
            try (Padded padded = new Padded(shape)) {
                call.accept(padded.shape, padded.backward(operands));
                padded.finish();
            }
        } else {
            call.accept(shape, operands);
        }
    }

    private HopperRanges requireRanges(Shape shape, Prefixed sequences) {
        HostAttention.check(shape, sequences.joined());
        if (hopperRanges == null) {
            throw new IllegalStateException("no kernels for keys in two ranges");
        }
        return hopperRanges;
    }

    private static Kernel operands(Kernel kernel, Span q, Span k, Span v) {
        return kernel.begin().pointer(q.address()).pointer(k.address()).pointer(v.address());
    }

    private static int group(Shape shape) {
        return shape.heads() / shape.kvHeads();
    }

    private static int blocks(TileList tiles, Shape shape) {
        return Math.multiplyExact(tiles.count(), shape.kvHeads());
    }

    private static float scaleLog2(Shape shape) {
        return (float) (shape.scale() * LOG2_E);
    }

    /// 2^32 / group rounded up, with whose upper half of the product a kernel divides a row by the
    /// group; 0 for a group of 1.
    private static int reciprocal(int group) {
        return group == 1 ? 0 : (int) Math.ceilDiv(1L << 32, group);
    }

    /// Checks that dividing a row by [#reciprocal] is exact, with room for a tile's last rows.
    private static void requireDivisible(long queries, int group) {
        if ((queries + 128L) * group * group >= 1L << 32) {
            throw new IllegalArgumentException(
                    "attention of %d queries in groups of %d heads is too long"
                            .formatted(queries, group));
        }
    }

    /// The type of a call's operands, for which there are kernels of its head dimension.
    private static DType type(Shape shape, Span q) {
        DType type = q.dtype();
        if (type != DType.F32 && type != DType.BF16) {
            throw new IllegalArgumentException("q is %s, expected F32 or BF16".formatted(type));
        }
        int most = type == DType.BF16 ? 128 : 256;
        if (shape.headDim() > most) {
            throw new IllegalArgumentException(
                    "attention of head dim %d in %s: CUDA has up to %d"
                            .formatted(shape.headDim(), type, most));
        }
        if (!(shape.scale() > 0)) {
            throw new IllegalArgumentException(
                    "attention of scale %s, expected a positive one".formatted(shape.scale()));
        }
        return type;
    }

    /// Whether bf16 operands can't be read 16 bytes at a time.
    private static boolean isIrregular(Shape shape, DType type, Span... operands) {
        if (type == DType.F32) {
            return false;
        }
        boolean aligned = shape.headDim() % CHUNK == 0;
        for (Span operand : operands) {
            aligned &= operand.address() % ALIGNMENT == 0;
        }
        return !aligned;
    }

    private Kernels kernels(DType type, int headDim) {
        int index = headDim <= 32 ? 0 : headDim <= 64 ? 1 : headDim <= 128 ? 2 : 3;
        int width = 32 << index;
        int at = type == DType.BF16 ? index : 3 + index;
        Kernels found = kernels[at];
        if (found == null) {
            found = type == DType.BF16 ? Kernels.bf16(device, width) : Kernels.f32(device, width);
            kernels[at] = found;
        }
        return found;
    }

    private TileList tiles(Shape shape, Sequences sequences, TileList.Side side, int tile) {
        return tiles(shape, sequences, side, tile, group(shape));
    }

    /// @param group heads that are packed
    private TileList tiles(
            Shape shape, Sequences sequences, TileList.Side side, int tile, int group) {
        for (int length : sequences.queryLength()) {
            requireDivisible(length, group);
        }
        return lists.get(new TileList.Key(sequences, side, tile, group, shape.causal()));
    }

    /// A call on copies of its operands whose heads are filled up with zeros to a multiple of 16
    /// bytes: the kernels then compute the same products and some more that are 0.
    private final class Padded implements AutoCloseable {
        private final Shape shape;
        private final int width;
        private final List<Span> targets = new ArrayList<>();
        private final List<Span> results = new ArrayList<>();
        private final List<DeviceBuffer> buffers = new ArrayList<>();

        Padded(Shape shape) {
            this.width = shape.headDim();
            this.shape =
                    new Shape(
                            shape.heads(),
                            shape.kvHeads(),
                            Math.ceilDiv(width, CHUNK) * CHUNK,
                            shape.causal(),
                            shape.scale());
        }

        Span input(Span span) {
            long rows = span.length() / width;
            DeviceBuffer buffer = device.allocate(Math.max(1, 2 * rows * shape.headDim()));
            buffers.add(buffer);
            Span copy = new Span(buffer, 0, rows * shape.headDim(), DType.BF16);
            resize(span, copy, rows, width, shape.headDim());
            return copy;
        }

        /// Its copy begins as it is, so that rows of no sequence stay.
        Span output(Span span) {
            Span copy = input(span);
            targets.add(span);
            results.add(copy);
            return copy;
        }

        /// @param o what becomes of the results
        ForwardOperands forward(ForwardOperands operands, UnaryOperator<Span> o) {
            return new ForwardOperands(
                    input(operands.q()),
                    input(operands.k()),
                    input(operands.v()),
                    o.apply(operands.o()),
                    operands.lse());
        }

        BackwardOperands backward(BackwardOperands operands) {
            return new BackwardOperands(
                    forward(operands.forward(), this::input),
                    input(operands.dO()),
                    output(operands.dq()),
                    output(operands.dk()),
                    output(operands.dv()));
        }

        void finish() {
            for (int i = 0; i < targets.size(); i++) {
                Span target = targets.get(i);
                resize(results.get(i), target, target.length() / width, shape.headDim(), width);
            }
        }

        private void resize(Span from, Span to, long rows, int fromWidth, int toWidth) {
            Kernel kernel = resize;
            if (kernel == null) {
                kernel = device.program("attention/rows").kernel("resize_bf16");
                resize = kernel;
            }
            kernel.begin()
                    .pointer(from.address())
                    .pointer(to.address())
                    .int64(rows)
                    .int32(fromWidth)
                    .int32(toWidth)
                    .launch(
                            Math.toIntExact(Math.ceilDiv(rows * toWidth, ROW_THREADS)),
                            ROW_THREADS);
        }

        @Override
        public void close() {
            buffers.forEach(DeviceBuffer::close);
        }
    }
}
