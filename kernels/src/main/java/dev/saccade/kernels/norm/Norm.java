package dev.saccade.kernels.norm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm over the last dimension, forward and backward. A row's sums are a fixed
/// reduction tree, on the CPU over 16 interleaved partial sums, on CUDA over packs of 16 bytes by a
/// number of threads that follows from width and type, so a row's bits depend on nothing but the
/// row.
///
/// Types: x, y, dy, dx, weight and bias are T, which is F32 and on CUDA also BF16; mean, rstd, and
/// dWeight and dBias are F32. Everything is computed in F32 and rounded once, where it is stored.
/// On CUDA a row holds at most 65536 bytes.
public interface Norm {

    /// LayerNorm: `y = (x - mean) * rstd * weight + bias`, rstd = 1/sqrt(var + eps), var biased. x
    /// and y are [rows, width]; weight and bias [width]; `mean` and `rstd` [rows] receive the
    /// statistics when not null.
    void layerNorm(
            int rows,
            int width,
            float eps,
            Span x,
            Span weight,
            Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd);

    /// LayerNorm backward. dx [rows, width] is written when not null; dWeight and dBias [width] are
    /// accumulated into, when not null: on the CPU row by row in order, on CUDA by partial sums
    /// over groups of rows, merged in a fixed order, where groups and order follow from the number
    /// of rows, width and type alone. dx may be dy.
    void layerNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias);

    /// RMSNorm: `y = x * rstd * weight`, rstd = 1/sqrt(mean(x^2) + eps). Shapes as LayerNorm.
    void rmsNorm(int rows, int width, float eps, Span x, Span weight, Span y, @Nullable Span rstd);

    /// [#rmsNorm] of two operands of the same shape and type, as a vision layer's queries and keys
    /// over all their heads, in one pass; the bits are those of two. y may be x.
    void rmsNormBoth(int rows, int width, float eps, Operands first, Operands second);

    /// What RMSNorm reads and writes; shapes and types as in [#rmsNorm].
    record Operands(Span x, Span weight, Span y, @Nullable Span rstd) {}

    /// RMSNorm backward; as [#layerNormBackward].
    void rmsNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight);

    /// The implementation for `device`.
    static Norm on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostNorm(host);
            case CudaDevice cuda -> new CudaNorm(cuda);
        };
    }
}
