package dev.saccade.tensor;

import dev.saccade.kernels.gemm.Epilogue;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What only the vision tower and the connector need.
final class VisionOperations {
    private VisionOperations() {}

    static Tensor patchEmbedding(
            Tape tape,
            Tensor pixels,
            Parameter weight,
            @Nullable Parameter bias,
            Parameter cls,
            Parameter positions) {
        Tape.require(
                pixels.shape().rank() == 4
                        && weight.shape().rank() == 4
                        && weight.shape().dim(1) == pixels.shape().dim(1)
                        && weight.shape().dim(2) == weight.shape().dim(3)
                        && pixels.shape().dim(2) % weight.shape().dim(2) == 0
                        && pixels.shape().dim(3) % weight.shape().dim(2) == 0,
                "patchEmbedding",
                pixels,
                weight);
        int tiles = (int) pixels.shape().dim(0);
        int channels = (int) pixels.shape().dim(1);
        int height = (int) pixels.shape().dim(2);
        int width = (int) pixels.shape().dim(3);
        int out = (int) weight.shape().dim(0);
        int patch = (int) weight.shape().dim(2);
        int patches = (height / patch) * (width / patch);
        LinearOperations.requireVector("patchEmbedding", weight, bias);
        LinearOperations.requireVector("patchEmbedding", weight, cls);
        Tape.require(
                positions.shape().elements() == (1L + patches) * out,
                "patchEmbedding",
                pixels,
                weight,
                positions);
        Shape unfoldedShape = Shape.of((long) tiles * patches, (long) channels * patch * patch);
        Tensor unfolded = tape.make(weight.value().dtype(), unfoldedShape, false);
        tape.kernels()
                .patch()
                .unfold(tiles, channels, height, width, patch, pixels.span(), unfolded.span());
        Tensor embedded = tape.make(unfolded.dtype(), unfoldedShape.withWidth(out), false);
        LinearOperations.product(
                tape,
                unfolded,
                weight,
                embedded,
                bias == null ? Epilogue.STORE : new Epilogue.Bias(bias.value().span()));
        Tensor y =
                tape.make(
                        unfolded.dtype(),
                        Shape.of(tiles, 1L + patches, out),
                        tape.needs(List.of(), weight, bias, cls, positions));
        tape.kernels()
                .patch()
                .assemble(
                        tiles,
                        patches,
                        out,
                        embedded.span(),
                        cls.value().span(),
                        positions.value().span(),
                        y.span());
        tape.note(
                y,
                () -> {
                    boolean linear = tape.needs(List.of(), weight, bias);
                    Tensor dEmbedded = linear ? tape.like(embedded) : null;
                    tape.kernels()
                            .patch()
                            .assembleBackward(
                                    tiles,
                                    patches,
                                    out,
                                    tape.gradientOf(y).span(),
                                    dEmbedded == null ? null : dEmbedded.span(),
                                    NormOperations.gradientOrNull(cls),
                                    NormOperations.gradientOrNull(positions));
                    if (dEmbedded != null) {
                        LinearOperations.backward(tape, unfolded, weight, bias, dEmbedded);
                    }
                });
        return y;
    }

    static Tensor pixelUnshuffle(Tape tape, Tensor x, int grid) {
        int tokens = 1 + grid * grid;
        Tape.require(
                grid > 0 && grid % 2 == 0 && x.rows() % tokens == 0,
                "pixelUnshuffle",
                x,
                "a grid of " + grid);
        int tiles = x.rows() / tokens;
        int width = x.width();
        long half = grid / 2;
        Tensor y =
                tape.make(
                        x.dtype(),
                        Shape.of(tiles * half * half, 4L * width),
                        tape.needs(List.of(x)));
        tape.kernels().pixelUnshuffle().forward(tiles, grid, width, x.span(), y.span());
        tape.note(
                y,
                () -> {
                    Tensor dx = tape.like(x);
                    tape.kernels()
                            .pixelUnshuffle()
                            .backward(tiles, grid, width, tape.gradientOf(y).span(), dx.span());
                    tape.accumulate(x, dx);
                });
        return y;
    }
}
