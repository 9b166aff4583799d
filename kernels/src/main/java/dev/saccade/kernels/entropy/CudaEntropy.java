package dev.saccade.kernels.entropy;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Entropy and log-probability on CUDA: a warp takes two segments of 1024 words, another one merges
/// a row's segments.
final class CudaEntropy implements Entropy {
    private static final int THREADS = 256;
    private static final int ROWS_OF_BLOCK = THREADS / 32;

    /// Warps of a block of the kernel for segments, each of which takes a pair of them.
    private static final int SEGMENT_WARPS = 4;

    /// Words of a segment, and its blocks.
    private static final int SEGMENT = 1024;

    private static final int SEGMENT_BLOCKS = 4;

    /// Words of a row that a block of the backward pass takes.
    private static final int CHUNK = 8192;

    /// Bytes of what is kept of a segment, and of a row in the backward pass.
    private static final int PART_BYTES = 16;

    private final CudaDevice device;
    private final Kernel pack;
    private final Kernel segmentsF32;
    private final Kernel segmentsBf16;
    private final Kernel fullSegmentsF32;
    private final Kernel fullSegmentsBf16;
    private final Kernel merge;
    private final Kernel fullMerge;
    private final Kernel factors;
    private final Kernel backwardF32;
    private final Kernel backwardF32Bf16;
    private final Kernel backwardBf16;

    CudaEntropy(CudaDevice device) {
        Program program = device.program("entropy/portable");
        this.device = device;
        this.pack = program.kernel("entropy_pack");
        this.segmentsF32 = program.kernel("entropy_segments_f32");
        this.segmentsBf16 = program.kernel("entropy_segments_bf16");
        this.fullSegmentsF32 = program.kernel("entropy_segments_full_f32");
        this.fullSegmentsBf16 = program.kernel("entropy_segments_full_bf16");
        this.merge = program.kernel("entropy_merge");
        this.fullMerge = program.kernel("entropy_merge_full");
        this.factors = program.kernel("entropy_backward_factors");
        this.backwardF32 = program.kernel("entropy_backward_f32");
        this.backwardF32Bf16 = program.kernel("entropy_backward_f32_bf16");
        this.backwardBf16 = program.kernel("entropy_backward_bf16");
    }

    @Override
    public void forward(Rows rows, Span targets, @Nullable Span banned, Results results) {
        int count = rows.count();
        int vocab = rows.vocab();
        boolean half = rows.logits().dtype() == DType.BF16;
        long from = rows.logits().require("logits", logitsType(rows), rows.elements());
        long target = targets.require("targets", DType.I32, count);
        long bans = address("banned", banned, DType.U8, vocab);
        long toLogProb = results.logProb().require("logProb", DType.F32, count);
        long toEntropy = address("entropy", results.entropy(), DType.F32, count);
        long toLse = address("lse", results.lse(), DType.F32, count);
        long toMaxProb = address("maxProb", results.maxProb(), DType.F32, count);
        long toArgmax = address("argmax", results.argmax(), DType.I32, count);
        long members = address("set", results.set(), DType.U8, vocab);
        long toMass = address("mass", results.mass(), DType.F32, count);
        if (count == 0) {
            return;
        }
        boolean full = toArgmax != 0 || toMass != 0;
        int segments = Math.ceilDiv(vocab, SEGMENT);
        int pairs = Math.ceilDiv(segments, 2);
        long all = (long) count * segments;
        float inverse = 1f / rows.temperature();
        long bitBytes = 2L * pairs * SEGMENT / Byte.SIZE;
        try (DeviceBuffer parts = device.allocate(PART_BYTES * all);
                DeviceBuffer words = device.allocate(full ? Integer.BYTES * all : Integer.BYTES);
                DeviceBuffer banBits = device.allocate(bans == 0 ? Integer.BYTES : bitBytes);
                DeviceBuffer setBits = device.allocate(members == 0 ? Integer.BYTES : bitBytes)) {
            if (bans != 0) {
                pack(vocab, bitBytes, bans, banBits);
            }
            if (members != 0) {
                pack(vocab, bitBytes, members, setBits);
            }
            Kernel segmentKernel =
                    half
                            ? (full ? fullSegmentsBf16 : segmentsBf16)
                            : (full ? fullSegmentsF32 : segmentsF32);
            segmentKernel
                    .begin()
                    .int32(count)
                    .int32(vocab)
                    .int32(segments)
                    .int64(rows.pitch())
                    .float32(inverse)
                    .pointer(from)
                    .pointer(bans == 0 ? 0 : banBits.address())
                    .pointer(members == 0 ? 0 : setBits.address())
                    .pointer(parts.address())
                    .pointer(words.address())
                    .launch(
                            Math.toIntExact(Math.ceilDiv((long) count * pairs, SEGMENT_WARPS)),
                            32 * SEGMENT_WARPS);
            (full ? fullMerge : merge)
                    .begin()
                    .int32(count)
                    .int32(vocab)
                    .int32(segments)
                    .int32(SEGMENT_BLOCKS)
                    .int64(rows.pitch())
                    .float32(inverse)
                    .pointer(from)
                    .int32(half ? 1 : 0)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(parts.address())
                    .pointer(words.address())
                    .pointer(toLogProb)
                    .pointer(toEntropy)
                    .pointer(toLse)
                    .pointer(toMaxProb)
                    .pointer(toArgmax)
                    .pointer(toMass)
                    .pointer(device.faultAddress())
                    .launch(Math.ceilDiv(count, ROWS_OF_BLOCK), THREADS);
        }
    }

    /// One bit for each word's flag.
    private void pack(int vocab, long bytes, long flags, DeviceBuffer bits) {
        int numbers = Math.toIntExact(bytes / Integer.BYTES);
        pack.begin()
                .int32(vocab)
                .int32(numbers)
                .int32(0)
                .pointer(flags)
                .pointer(bits.address())
                .launch(Math.ceilDiv(numbers, THREADS), THREADS);
    }

    @Override
    public void backward(
            Rows rows,
            @Nullable Part part,
            Span targets,
            @Nullable Span banned,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            Span dLogits) {
        int count = rows.count();
        int vocab = rows.vocab();
        int first = part == null ? 0 : part.first();
        int allWords = part == null ? vocab : part.vocab();
        HostEntropy.checkPart(part, vocab);
        boolean half = rows.logits().dtype() == DType.BF16;
        DType result = half || dLogits.dtype() == DType.BF16 ? DType.BF16 : DType.F32;
        long from = rows.logits().require("logits", logitsType(rows), rows.elements());
        long target = targets.require("targets", DType.I32, count);
        long bans = address("banned", banned, DType.U8, allWords);
        long logProb = part == null ? 0 : part.logProb().require("logProb", DType.F32, count);
        long fromEntropy = entropy.require("entropy", DType.F32, count);
        long fromLse = lse.require("lse", DType.F32, count);
        long upLogProb = address("dLogProb", dLogProb, DType.F32, count);
        long upEntropy = address("dEntropy", dEntropy, DType.F32, count);
        long to = dLogits.require("dLogits", result, rows.elements());
        float inverse = 1f / rows.temperature();
        if (count == 0) {
            return;
        }
        try (DeviceBuffer rowFactors = device.allocate((long) PART_BYTES * count)) {
            factors.begin()
                    .int32(count)
                    .int32(allWords)
                    .int64(rows.pitch())
                    .float32(inverse)
                    .pointer(from)
                    .int32(half ? 1 : 0)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(logProb)
                    .pointer(fromEntropy)
                    .pointer(fromLse)
                    .pointer(upLogProb)
                    .pointer(upEntropy)
                    .pointer(rowFactors.address())
                    .pointer(device.faultAddress())
                    .launch(Math.ceilDiv(count, THREADS), THREADS);
            Kernel kernel =
                    half ? backwardBf16 : result == DType.BF16 ? backwardF32Bf16 : backwardF32;
            kernel.begin()
                    .int32(vocab)
                    .int32(first)
                    .int64(rows.pitch())
                    .float32(inverse)
                    .pointer(from)
                    .pointer(target)
                    .pointer(bans == 0 ? 0 : bans + first)
                    .pointer(rowFactors.address())
                    .pointer(to)
                    .launch(count, Math.ceilDiv(vocab, CHUNK), 1, THREADS, 0);
        }
    }

    private static DType logitsType(Rows rows) {
        return rows.logits().dtype() == DType.BF16 ? DType.BF16 : DType.F32;
    }

    private static long address(String operand, @Nullable Span span, DType type, long elements) {
        return span == null ? 0 : span.require(operand, type, elements);
    }
}
