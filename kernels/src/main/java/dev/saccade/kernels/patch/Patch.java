package dev.saccade.kernels.patch;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// The parts of the ViT's patch embedding around its product: InternViT's convolution with stride =
/// kernel is the product of the unfolded patches with the weight [C, 3*patch*patch].
///
/// Pixels, dCls and dPosition are F32; everything else is of one type T, F32 and on CUDA also BF16,
/// computed in F32 and rounded once.
public interface Patch {

    /// Unfolds pixels [tiles, channels, height, width] to patches
    /// [tiles*(height/patch)*(width/patch), pitch], patches row-major, elements in the order
    /// (channel, y, x) of a convolution weight, rounded to T; behind the channels*patch*patch
    /// elements of a row there are zeros.
    ///
    /// @param pitch elements from a row to the next; more than a patch has where the product wants
    ///   rows that begin on 16 bytes
    void unfold(
            int tiles,
            int channels,
            int height,
            int width,
            int patch,
            int pitch,
            Span pixels,
            Span patches);

    /// Copies each row of `from` [rows, fromWidth] to the beginning of a row of `to` [rows,
    /// toWidth]: cut off where that is shorter, with zeros behind it where it is longer. Both have
    /// type T. It brings a convolution's weight to the pitch of unfolded patches, and its gradient
    /// back.
    void fit(int rows, int fromWidth, int toWidth, Span from, Span to);

    /// Puts the class token in front and adds the positions: out [tiles, 1+patches, width] with
    /// `out[t,0] = cls + position[0]`, `out[t,1+p] = embedded[t,p] + position[1+p]`; embedded
    /// [tiles*patches, width], cls [width], position [1+patches, width].
    void assemble(
            int tiles, int patches, int width, Span embedded, Span cls, Span position, Span out);

    /// The gradient of [#assemble]: dEmbedded is written, dCls and dPosition are accumulated into
    /// in tile order, one chain for each element; each may be null.
    void assembleBackward(
            int tiles,
            int patches,
            int width,
            Span dOut,
            @Nullable Span dEmbedded,
            @Nullable Span dCls,
            @Nullable Span dPosition);

    /// Whether an image can be unfolded so.
    ///
    /// @throws IllegalArgumentException saying why not
    static void requireImage(int channels, int height, int width, int patch, int pitch) {
        if (patch < 1 || height % patch != 0 || width % patch != 0) {
            throw new IllegalArgumentException(
                    "an image of %d x %d does not divide into patches of %d"
                            .formatted(height, width, patch));
        }
        if (pitch < (long) channels * patch * patch) {
            throw new IllegalArgumentException(
                    "patches of %d x %d x %d do not fit into rows of %d"
                            .formatted(channels, patch, patch, pitch));
        }
    }

    /// The implementation for `device`.
    static Patch on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostPatch(host);
            case CudaDevice cuda -> new CudaPatch(cuda);
        };
    }
}
