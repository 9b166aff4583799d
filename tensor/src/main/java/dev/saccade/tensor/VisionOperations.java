package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What only the vision tower and the connector need.
final class VisionOperations {
    /// A link of a bf16 product's chain, in elements of k ([Gemm]).
    private static final int LINK = 16;

    private VisionOperations() {}

    static Tensor patchEmbedding(
            Tape tape,
            Tensor pixels,
            Parameter weight,
            @Nullable Parameter bias,
            Parameter cls,
            Parameter positions) {
        long elements = weight.shape().elements() / Math.max(1, weight.shape().dim(0));
        int pitch = pitch(weight.value().dtype(), Math.toIntExact(elements));
        return patchEmbedding(tape, pixels, weight, bias, cls, positions, pitch);
    }

    /// Elements from a row of unfolded patches to the next. The fast bf16 products want rows that
    /// begin on 16 bytes, which those of 3 x 14 x 14 elements don't. Filling the last link of 16
    /// with zeros brings them there and leaves every bit as it is, because the product itself fills
    /// that link with zeros. Products of fp32 have no links, and no such wish.
    static int pitch(DType dtype, int elements) {
        return dtype == DType.BF16 ? (elements + LINK - 1) / LINK * LINK : elements;
    }

    /// @param pitch at least the elements of a patch
    static Tensor patchEmbedding(
            Tape tape,
            Tensor pixels,
            Parameter weight,
            @Nullable Parameter bias,
            Parameter cls,
            Parameter positions,
            int pitch) {
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
        int elements = channels * patch * patch;
        Shape unfoldedShape = Shape.of((long) tiles * patches, pitch);
        Tensor unfolded = tape.make(weight.value().dtype(), unfoldedShape, false);
        tape.kernels()
                .patch()
                .unfold(
                        tiles,
                        channels,
                        height,
                        width,
                        patch,
                        pitch,
                        pixels.span(),
                        unfolded.span());
        Tensor embedded = tape.make(unfolded.dtype(), unfoldedShape.withWidth(out), false);
        // Made for each pass, so that it is never older than the weight: a few microseconds.
        Span rows =
                pitch == elements
                        ? weight.value().span()
                        : fitted(tape, weight.value(), out, elements, pitch).span();
        tape.kernels()
                .gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NT, unfolded.rows(), out, pitch),
                        unfolded.span(),
                        rows,
                        embedded.span(),
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
                        addWeightGradient(tape, weight, dEmbedded, unfolded, elements);
                        LinearOperations.addBiasGradient(tape, bias, dEmbedded);
                    }
                });
        return y;
    }

    /// Adds dEmbedded^T x to the weight's gradient. The product goes on with the chains of the
    /// gradient as it is, at x's pitch.
    private static void addWeightGradient(
            Tape tape, Parameter weight, Tensor dEmbedded, Tensor unfolded, int elements) {
        int pitch = unfolded.width();
        if (pitch == elements || !weight.trainable()) {
            LinearOperations.addWeightGradient(tape, weight, dEmbedded, unfolded);
            return;
        }
        int out = dEmbedded.width();
        Tensor sums = fitted(tape, weight.gradient(), out, elements, pitch);
        tape.kernels()
                .gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.TN, out, pitch, unfolded.rows()),
                        dEmbedded.span(),
                        unfolded.span(),
                        sums.span(),
                        Epilogue.ACCUMULATE);
        tape.kernels().patch().fit(out, pitch, elements, sums.span(), weight.gradient().span());
    }

    /// A matrix [rows, width] with rows of another pitch, zeros behind them.
    private static Tensor fitted(Tape tape, Tensor matrix, int rows, int width, int pitch) {
        Tensor fitted = tape.make(matrix.dtype(), Shape.of(rows, pitch), false);
        tape.kernels().patch().fit(rows, width, pitch, matrix.span(), fitted.span());
        return fitted;
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
