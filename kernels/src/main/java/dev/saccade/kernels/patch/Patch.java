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
    /// [tiles*(height/patch)*(width/patch), channels*patch*patch], patches row-major, elements in
    /// the order (channel, y, x) of a convolution weight, rounded to T.
    void unfold(
            int tiles, int channels, int height, int width, int patch, Span pixels, Span patches);

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

    /// The implementation for `device`.
    static Patch on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostPatch(host);
            case CudaDevice cuda -> new CudaPatch(cuda);
        };
    }
}
