package dev.saccade.kernels.elementwise;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Pointwise arithmetic, casts, and sums.
///
/// Types: elements are T, which is F32 and on CUDA also BF16, where nothing else is said; every
/// result is computed in F32 and rounded once. Column sums are F32.
public interface Elementwise {

    /// `y = a + b`; y may be a or b.
    void add(long count, Span a, Span b, Span y);

    /// `y += x`; on CUDA a BF16 x can also be added to an F32 y.
    void accumulate(long count, Span x, Span y);

    /// `y = factor * x`; y may be x.
    void scale(long count, float factor, Span x, Span y);

    /// `y = a * b`; y may be a or b.
    void multiply(long count, Span a, Span b, Span y);

    /// `y = value`, rounded to y's type.
    void fill(long count, float value, Span y);

    /// Converts `count` elements between F32, BF16 and F16, rounding to nearest even; NaN stays
    /// NaN. x and y may not overlap.
    void cast(long count, Span x, Span y);

    /// Sums the rows of x [rows, width] into the F32 sum [width], which is accumulated into: the
    /// gradient of a bias. On the CPU row 0 comes first; on CUDA blocks of 128 rows are summed,
    /// then merged, in an order that depends on `rows` alone.
    void sumRows(int rows, int width, Span x, Span sum);

    /// Layer scale backward: with y = residual + scale * branch over [rows, width], `dBranch = dy *
    /// scale` when not null, `dScale[n] += sum over rows of dy * branch` when not null, in F32 and
    /// the order of [#sumRows]. dBranch may be dy.
    void layerScaleBackward(
            int rows,
            int width,
            Span scale,
            @Nullable Span branch,
            Span dy,
            @Nullable Span dBranch,
            @Nullable Span dScale);

    /// The weighted sum `sum over i of x[i] * w[i]` in double, blocks of 4096 merged in order; w is
    /// F32, null = 1. Waits for the device.
    ///
    /// @return the sum, read back
    double dot(long count, Span x, @Nullable Span w);

    /// The implementation for `device`.
    static Elementwise on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostElementwise(host);
            case CudaDevice cuda -> new CudaElementwise(cuda);
        };
    }
}
