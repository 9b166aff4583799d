package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.connector.UnshuffleNorm;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.tensor.Tape.Affine;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The connector as one operation: pixel unshuffle and LayerNorm in one pass, two linear layers
/// with a GELU between them. Kept is what the trainable parts need, nothing else: the first layer's
/// input for its weight's gradient, its pre-activation for everything before the GELU, the second
/// layer's input for its weight's gradient. On the way back the pre-activation and the normed rows
/// become their own gradients, in their own memory.
final class ConnectorOperation {
    private final Tape tape;
    private final Tensor x;
    private final int grid;
    private final Affine norm;
    private final float eps;
    private final Affine first;
    private final Affine second;
    private final int tiles;
    private final int width;
    private final int rows;

    ConnectorOperation(
            Tape tape, Tensor x, int grid, Affine norm, float eps, Affine first, Affine second) {
        this.tape = tape;
        this.x = x;
        this.grid = grid;
        this.norm = norm;
        this.eps = eps;
        this.first = first;
        this.second = second;
        int tokens = 1 + grid * grid;
        boolean square = grid > 0 && grid % 2 == 0 && x.rows() % tokens == 0;
        Tape.require(
                square
                        && norm.weight().shape().elements() == 4L * x.width()
                        && norm.bias().shape().elements() == 4L * x.width()
                        && takes(first, 4L * x.width())
                        && takes(second, first.bias().shape().elements()),
                "connector",
                x,
                "a grid of " + grid,
                norm.weight(),
                norm.bias(),
                first.weight(),
                first.bias(),
                second.weight(),
                second.bias());
        this.tiles = x.rows() / tokens;
        this.width = x.width();
        this.rows = UnshuffleNorm.rows(tiles, grid);
    }

    /// Whether a layer's weight is [out, in] and its bias [out].
    private static boolean takes(Affine layer, long in) {
        Shape shape = layer.weight().shape();
        return shape.rank() == 2
                && shape.dim(1) == in
                && layer.bias().shape().elements() == shape.dim(0);
    }

    Tensor forward() {
        boolean normNeeds = tape.needs(List.of(x), norm.weight(), norm.bias());
        boolean firstNeeds = normNeeds || tape.needs(List.of(), first.weight(), first.bias());
        boolean required = firstNeeds || tape.needs(List.of(), second.weight(), second.bias());
        Tensor normed = make(4L * width, false);
        Tensor mean = normNeeds ? tape.empty(DType.F32, rows) : null;
        Tensor rstd = normNeeds ? tape.empty(DType.F32, rows) : null;
        tape.kernels()
                .unshuffleNorm()
                .forward(
                        tiles,
                        grid,
                        width,
                        eps,
                        x.span(),
                        LinearOperations.span(norm.weight()),
                        LinearOperations.span(norm.bias()),
                        normed.span(),
                        spanOf(mean),
                        spanOf(rstd));
        Tensor hidden = make(first.weight().shape().dim(0), false);
        Tensor before = firstNeeds ? tape.like(hidden) : null;
        Span firstBias = LinearOperations.span(first.bias());
        LinearOperations.product(
                tape,
                normed,
                first.weight(),
                hidden,
                new Epilogue.BiasGelu(firstBias, spanOf(before)));
        Tensor firstInput = kept(normed, first.weight());
        Tensor y = make(second.weight().shape().dim(0), required);
        LinearOperations.product(
                tape,
                hidden,
                second.weight(),
                y,
                new Epilogue.Bias(LinearOperations.span(second.bias())));
        Tensor secondInput = kept(hidden, second.weight());
        tape.note(y, () -> backward(y, secondInput, before, firstInput, mean, rstd));
        return y;
    }

    private Tensor make(long columns, boolean requiresGrad) {
        return tape.make(x.dtype(), Shape.of(rows, columns), requiresGrad);
    }

    /// A layer's input, where its weight's gradient needs it; otherwise it is freed.
    private @Nullable Tensor kept(Tensor input, Parameter weight) {
        if (tape.needs(List.of(), weight)) {
            return input;
        }
        tape.free(input);
        return null;
    }

    /// @param secondInput null where the second weight is frozen
    /// @param before the pre-activation; null where all before the GELU is frozen
    /// @param firstInput null where the first weight is frozen
    /// @param mean null, like rstd, where norm and x need no gradient
    private void backward(
            Tensor y,
            @Nullable Tensor secondInput,
            @Nullable Tensor before,
            @Nullable Tensor firstInput,
            @Nullable Tensor mean,
            @Nullable Tensor rstd) {
        Tensor dy = tape.gradientOf(y);
        addGradients(second, dy, secondInput);
        if (before == null) {
            return;
        }
        product(dy, second, before, new Epilogue.GeluBackward(before.span()));
        addGradients(first, before, firstInput);
        if (mean == null || rstd == null) {
            return;
        }
        Tensor dNormed = firstInput == null ? make(4L * width, false) : firstInput;
        product(before, first, dNormed, Epilogue.STORE);
        Tensor dx = x.requiresGrad() ? tape.like(x) : null;
        tape.kernels()
                .unshuffleNorm()
                .backward(
                        tiles,
                        grid,
                        width,
                        x.span(),
                        LinearOperations.span(norm.weight()),
                        mean.span(),
                        rstd.span(),
                        dNormed.span(),
                        spanOf(dx),
                        NormOperations.gradientOrNull(norm.weight()),
                        NormOperations.gradientOrNull(norm.bias()));
        if (dx != null) {
            tape.accumulate(x, dx);
        }
    }

    private void addGradients(Affine layer, Tensor dy, @Nullable Tensor input) {
        if (input != null) {
            LinearOperations.addWeightGradient(tape, layer.weight(), dy, input);
        }
        LinearOperations.addBiasGradient(tape, layer.bias(), dy);
    }

    /// `to = epilogue(dy W)`.
    private void product(Tensor dy, Affine layer, Tensor to, Epilogue epilogue) {
        tape.kernels()
                .gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NN, rows, to.width(), dy.width()),
                        dy.span(),
                        LinearOperations.span(layer.weight()),
                        to.span(),
                        epilogue);
    }

    private static @Nullable Span spanOf(@Nullable Tensor tensor) {
        return tensor == null ? null : tensor.span();
    }
}
