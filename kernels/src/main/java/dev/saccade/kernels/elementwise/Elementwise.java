package dev.saccade.kernels.elementwise;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Pointwise arithmetic, casts, and sums of F32 elements.
public interface Elementwise {

    /// `y = a + b`; y may be a or b.
    void add(long count, Span a, Span b, Span y);

    /// `y += x`.
    void accumulate(long count, Span x, Span y);

    /// `y = factor * x`; y may be x.
    void scale(long count, float factor, Span x, Span y);

    /// `y = a * b`; y may be a or b.
    void multiply(long count, Span a, Span b, Span y);

    /// `y = value`.
    void fill(long count, float value, Span y);

    /// Converts `count` elements between F32, BF16 and F16, rounding to nearest even.
    void cast(long count, Span x, Span y);

    /// Sums the rows of x [rows, width], row 0 first, into sum [width], which is accumulated into:
    /// the gradient of a bias.
    void sumRows(int rows, int width, Span x, Span sum);

    /// Layer scale backward: with y = residual + scale * branch over [rows, width], `dBranch = dy *
    /// scale` when not null, `dScale[n] += sum over rows of dy * branch` in row order when not
    /// null.
    void layerScaleBackward(
            int rows,
            int width,
            Span scale,
            @Nullable Span branch,
            Span dy,
            @Nullable Span dBranch,
            @Nullable Span dScale);

    /// The weighted sum `sum over i of x[i] * w[i]` in double, blocks of 4096 merged in order; w
    /// null = 1.
    ///
    /// @return the sum, read back
    double dot(long count, Span x, @Nullable Span w);

    /// The implementation for `device`.
    static Elementwise on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostElementwise(host);
            case CudaDevice cuda -> throw new UnsupportedOperationException("skeleton");
        };
    }
}
