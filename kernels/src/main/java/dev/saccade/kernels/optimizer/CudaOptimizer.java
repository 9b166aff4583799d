package dev.saccade.kernels.optimizer;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The optimiser's arithmetic on CUDA.
final class CudaOptimizer implements Optimizer {
    private static final int THREADS = 256;

    /// Elements of one partial sum of squares.
    private static final int BLOCK = 4096;

    /// Threads that make one partial sum.
    private static final int BLOCK_THREADS = 16;

    private static final int WARP = 32;

    private final CudaDevice device;
    private final Kernel stepF32;
    private final Kernel stepBf16;
    private final Kernel stepF16;
    private final Kernel blocks;
    private final Kernel spans;

    CudaOptimizer(CudaDevice device) {
        Program program = device.program("optimizer/portable");
        this.device = device;
        this.stepF32 = program.kernel("adamw_f32");
        this.stepBf16 = program.kernel("adamw_bf16");
        this.stepF16 = program.kernel("adamw_f16");
        this.blocks = program.kernel("squares_of_blocks");
        this.spans = program.kernel("squares_of_spans");
    }

    @Override
    public void adamW(
            long count,
            AdamW options,
            Span weight,
            Span gradient,
            Span first,
            Span second,
            @Nullable Span rounded) {
        HostOptimizer.Scalars scalars = HostOptimizer.Scalars.of(options);
        long w = weight.require("weight", DType.F32, count);
        long g = gradient.require("gradient", DType.F32, count);
        long m = first.require("first", DType.F32, count);
        long v = second.require("second", DType.F32, count);
        long copy = HostOptimizer.requireRounded(rounded, count);
        // Four elements at a time where every operand lets them be accessed together.
        boolean aligned = (w | g | m | v) % 16 == 0 && copy % 8 == 0;
        long fours = aligned ? count / 4 : 0;
        long threads = fours + (count - 4 * fours);
        Kernel kernel =
                rounded == null ? stepF32 : rounded.dtype() == DType.BF16 ? stepBf16 : stepF16;
        kernel.begin()
                .int64(count)
                .int64(fours)
                .float32(scalars.scale())
                .float32(scalars.minusDecay())
                .float32(scalars.beta1())
                .float32(scalars.restOfBeta1())
                .float32(scalars.beta2())
                .float32(scalars.restOfBeta2())
                .float32(scalars.minusStepSize())
                .float32(scalars.correction2())
                .float32(scalars.eps())
                .pointer(w)
                .pointer(g)
                .pointer(m)
                .pointer(v)
                .pointer(copy)
                .launch(grid(threads, THREADS), THREADS);
    }

    @Override
    public double sumOfSquares(List<Span> values) {
        if (values.isEmpty()) {
            return 0;
        }
        int count = values.size();
        long[] begins = new long[count + 1];
        for (int i = 0; i < count; i++) {
            values.get(i).require("values", DType.F32, 0);
            begins[i + 1] = begins[i] + Math.ceilDiv(values.get(i).length(), (long) BLOCK);
        }
        double[] sums = new double[count];
        try (DeviceBuffer ofBlocks = device.allocate(Double.BYTES * begins[count]);
                DeviceBuffer offsets = device.allocate((long) Long.BYTES * begins.length);
                DeviceBuffer ofSpans = device.allocate((long) Double.BYTES * count)) {
            device.upload(MemorySegment.ofArray(begins), offsets, 0);
            for (int i = 0; i < count; i++) {
                Span span = values.get(i);
                blocks.begin()
                        .int64(span.length())
                        .pointer(span.address())
                        .pointer(ofBlocks.address() + Double.BYTES * begins[i])
                        .launch(grid(begins[i + 1] - begins[i], THREADS / BLOCK_THREADS), THREADS);
            }
            spans.begin()
                    .pointer(offsets.address())
                    .pointer(ofBlocks.address())
                    .pointer(ofSpans.address())
                    .launch(count, WARP);
            device.download(ofSpans, 0, MemorySegment.ofArray(sums));
        }
        double sum = 0;
        for (double part : sums) {
            sum += part;
        }
        return sum;
    }

    private static int grid(long parts, int ofBlock) {
        return Math.toIntExact(Math.ceilDiv(parts, (long) ofBlock));
    }
}
