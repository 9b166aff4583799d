package dev.saccade.kernels.entropy;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Entropy and log-probability on CUDA. The kernels are chosen by the vocabulary alone, so that a
/// row's bits don't depend on how many rows there are: a warp a row up to 512 words, a block a row
/// up to 8192, and beyond that a block for each 8192 words of a row and a warp that merges them.
final class CudaEntropy implements Entropy {
    private static final int THREADS = 256;
    private static final int CHUNK_THREADS = 512;
    private static final int ROWS_OF_BLOCK = THREADS / 32;

    /// Words that a warp holds in its registers.
    private static final int WARP_WORDS = 512;

    /// Words that a block holds in its registers.
    private static final int CHUNK = 8192;

    /// Bytes of what is kept of a chunk, and of a row in the backward pass.
    private static final int PART_BYTES = 16;

    private final CudaDevice device;
    private final Forward forward;
    private final Forward forwardWithMass;
    private final Kernel factors;
    private final Kernel backwardF32;
    private final Kernel backwardBf16;

    CudaEntropy(CudaDevice device) {
        Program program = device.program("entropy/portable");
        this.device = device;
        this.forward = Forward.of(program, "");
        this.forwardWithMass = Forward.of(program, "_mass");
        this.factors = program.kernel("entropy_backward_factors");
        this.backwardF32 = program.kernel("entropy_backward_f32");
        this.backwardBf16 = program.kernel("entropy_backward_bf16");
    }

    /// The kernels of a forward pass. They take a set and its mass whether they know one or not.
    private record Forward(Kernel warp, Kernel block, Kernel chunks, Kernel merge) {
        static Forward of(Program program, String suffix) {
            return new Forward(
                    program.kernel("entropy_forward_warp" + suffix),
                    program.kernel("entropy_forward_block" + suffix),
                    program.kernel("entropy_forward_chunks" + suffix),
                    program.kernel("entropy_forward_merge" + suffix));
        }
    }

    @Override
    public void forward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span logProb,
            @Nullable Span entropy,
            @Nullable Span lse,
            @Nullable Span set,
            @Nullable Span mass) {
        HostEntropy.check(rows, vocab, temperature);
        HostEntropy.checkSet(set, mass);
        long from = logits.require("logits", DType.F32, (long) rows * vocab);
        long target = targets.require("targets", DType.I32, rows);
        long bans = banned == null ? 0 : banned.require("banned", DType.U8, vocab);
        long toLogProb = logProb.require("logProb", DType.F32, rows);
        long toEntropy = entropy == null ? 0 : entropy.require("entropy", DType.F32, rows);
        long toLse = lse == null ? 0 : lse.require("lse", DType.F32, rows);
        long members = set == null ? 0 : set.require("set", DType.U8, vocab);
        long toMass = mass == null ? 0 : mass.require("mass", DType.F32, rows);
        Forward kernels = mass == null ? forward : forwardWithMass;
        float inverse = 1f / temperature;
        if (rows == 0) {
            return;
        }
        if (vocab <= WARP_WORDS) {
            kernels.warp
                    .begin()
                    .int32(rows)
                    .int32(vocab)
                    .float32(inverse)
                    .pointer(from)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(toLogProb)
                    .pointer(toEntropy)
                    .pointer(toLse)
                    .pointer(device.faultAddress())
                    .pointer(members)
                    .pointer(toMass)
                    .launch(Math.ceilDiv(rows, ROWS_OF_BLOCK), THREADS);
        } else if (vocab <= CHUNK) {
            kernels.block
                    .begin()
                    .int32(vocab)
                    .float32(inverse)
                    .pointer(from)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(toLogProb)
                    .pointer(toEntropy)
                    .pointer(toLse)
                    .pointer(device.faultAddress())
                    .pointer(members)
                    .pointer(toMass)
                    .launch(rows, CHUNK_THREADS);
        } else {
            int count = Math.ceilDiv(vocab, CHUNK);
            try (DeviceBuffer parts = device.allocate((long) PART_BYTES * rows * count)) {
                kernels.chunks
                        .begin()
                        .int32(vocab)
                        .float32(inverse)
                        .pointer(from)
                        .pointer(bans)
                        .pointer(parts.address())
                        .pointer(members)
                        .launch(rows, count, 1, CHUNK_THREADS, 0);
                kernels.merge
                        .begin()
                        .int32(rows)
                        .int32(vocab)
                        .float32(inverse)
                        .pointer(from)
                        .pointer(target)
                        .pointer(bans)
                        .int32(count)
                        .pointer(parts.address())
                        .pointer(toLogProb)
                        .pointer(toEntropy)
                        .pointer(toLse)
                        .pointer(device.faultAddress())
                        .pointer(toMass)
                        .launch(Math.ceilDiv(rows, ROWS_OF_BLOCK), THREADS);
            }
        }
    }

    @Override
    public void backward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            Span dLogits) {
        HostEntropy.check(rows, vocab, temperature);
        long from = logits.require("logits", DType.F32, (long) rows * vocab);
        long target = targets.require("targets", DType.I32, rows);
        long bans = banned == null ? 0 : banned.require("banned", DType.U8, vocab);
        long fromEntropy = entropy.require("entropy", DType.F32, rows);
        long fromLse = lse.require("lse", DType.F32, rows);
        long upLogProb = dLogProb == null ? 0 : dLogProb.require("dLogProb", DType.F32, rows);
        long upEntropy = dEntropy == null ? 0 : dEntropy.require("dEntropy", DType.F32, rows);
        boolean half = dLogits.dtype() == DType.BF16;
        long to = dLogits.require("dLogits", half ? DType.BF16 : DType.F32, (long) rows * vocab);
        float inverse = 1f / temperature;
        if (rows == 0) {
            return;
        }
        try (DeviceBuffer rowFactors = device.allocate((long) PART_BYTES * rows)) {
            factors.begin()
                    .int32(rows)
                    .int32(vocab)
                    .float32(inverse)
                    .pointer(from)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(fromEntropy)
                    .pointer(fromLse)
                    .pointer(upLogProb)
                    .pointer(upEntropy)
                    .pointer(rowFactors.address())
                    .pointer(device.faultAddress())
                    .launch(Math.ceilDiv(rows, THREADS), THREADS);
            (half ? backwardBf16 : backwardF32)
                    .begin()
                    .int32(vocab)
                    .float32(inverse)
                    .pointer(from)
                    .pointer(target)
                    .pointer(bans)
                    .pointer(rowFactors.address())
                    .pointer(to)
                    .launch(rows, Math.ceilDiv(vocab, CHUNK), 1, THREADS, 0);
        }
    }
}
