package dev.saccade.kernels.connector;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// [PixelUnshuffle] and LayerNorm ([dev.saccade.kernels.norm.Norm]) in one pass over the vision
/// tower's output, with the bits of one after the other. The unfolded rows are never stored: the
/// forward pass reads x once and writes the normed rows; the backward pass reads x and dy once and
/// writes dx where the tower has it. (On CUDA it reads them twice where a row is more than 32768
/// bytes, or more than the GPU's shared memory holds three times; no bit shows it.)
///
/// For a grid of side g (even, above 0), x and dx are [tiles, 1 + g*g, width]; y and dy are [rows,
/// 4*width] with rows = tiles * (g/2)^2, in [PixelUnshuffle]'s order; weight and bias are
/// [4*width].
///
/// Types: x, y, dy, dx, weight and bias are T, which is F32 and on CUDA also BF16; mean, rstd,
/// dWeight and dBias are F32. Everything is computed in F32 and rounded once, where it is stored.
/// On CUDA a row holds at most 65536 bytes.
///
/// No operand may overlap a result.
public interface UnshuffleNorm {

    /// `y = (u - mean) * rstd * weight + bias` over the rows u of the unshuffled x, rstd =
    /// 1/sqrt(var + eps), var biased. `mean` and `rstd` [rows] receive the statistics when not
    /// null.
    ///
    /// @throws IllegalArgumentException for a grid that is not even, or naming the operand whose
    ///   type or length does not fit
    void forward(
            int tiles,
            int grid,
            int width,
            float eps,
            Span x,
            Span weight,
            Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd);

    /// Backward. dx is written when not null, the class tokens' rows with 0; dWeight and dBias
    /// [4*width] are accumulated into, when not null, in the order of
    /// [dev.saccade.kernels.norm.Norm#layerNormBackward].
    ///
    /// @throws IllegalArgumentException as [#forward]
    void backward(
            int tiles,
            int grid,
            int width,
            Span x,
            Span weight,
            Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias);

    /// The implementation for `device`.
    static UnshuffleNorm on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostUnshuffleNorm(host);
            case CudaDevice cuda -> new CudaUnshuffleNorm(cuda);
        };
    }

    /// How many rows the connector makes of so many tiles.
    ///
    /// @throws IllegalArgumentException for a grid that is not even
    static int rows(int tiles, int grid) {
        if (grid < 1 || grid % 2 != 0) {
            throw new IllegalArgumentException(
                    "a grid of side " + grid + ", expected an even number above 0");
        }
        return Math.multiplyExact(tiles, grid / 2 * (grid / 2));
    }
}
