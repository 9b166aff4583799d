package dev.saccade.tensor;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Linear layers with what is fused into their product.
final class LinearOperations {
    private LinearOperations() {}

    static Tensor linear(Tape tape, Tensor x, Parameter weight, @Nullable Parameter bias) {
        requireInput("linear", x, weight);
        requireVector("linear", weight, bias);
        long out = weight.shape().dim(0);
        Tensor y =
                tape.make(
                        x.dtype(), x.shape().withWidth(out), tape.needs(List.of(x), weight, bias));
        product(tape, x, weight, y, bias == null ? Epilogue.STORE : new Epilogue.Bias(span(bias)));
        tape.note(y, () -> backward(tape, x, weight, bias, tape.gradientOf(y)));
        return y;
    }

    static Tensor gelu(Tape tape, Tensor x, Parameter weight, Parameter bias) {
        requireInput("linearGelu", x, weight);
        requireVector("linearGelu", weight, bias);
        Shape shape = x.shape().withWidth(weight.shape().dim(0));
        boolean required = tape.needs(List.of(x), weight, bias);
        Tensor y = tape.make(x.dtype(), shape, required);
        if (!required) {
            product(tape, x, weight, y, new Epilogue.BiasGelu(span(bias), null));
            return y;
        }
        Tensor z = tape.like(y);
        product(tape, x, weight, y, new Epilogue.BiasGelu(span(bias), z.span()));
        tape.note(
                y,
                () -> {
                    Tensor dz = tape.writableGradientOf(y);
                    tape.kernels()
                            .activation()
                            .geluBackward(shape.elements(), z.span(), dz.span(), dz.span());
                    backward(tape, x, weight, bias, dz);
                });
        return y;
    }

    static Tensor residual(
            Tape tape,
            Tensor x,
            Parameter weight,
            @Nullable Parameter bias,
            @Nullable Parameter scale,
            Tensor residual) {
        requireInput("linearResidual", x, weight);
        requireVector("linearResidual", weight, bias);
        requireVector("linearResidual", weight, scale);
        Tape.require(
                residual.rows() == x.rows()
                        && residual.width() == weight.shape().dim(0)
                        && residual.dtype() == x.dtype(),
                "linearResidual",
                x,
                weight,
                residual);
        Tensor y =
                tape.make(
                        x.dtype(),
                        residual.shape(),
                        tape.needs(List.of(x, residual), weight, bias, scale));
        boolean scaleTrains = y.requiresGrad() && scale != null && scale.trainable();
        Tensor branch = scaleTrains ? tape.like(y) : null;
        product(
                tape,
                x,
                weight,
                y,
                new Epilogue.Residual(
                        residual.span(), spanOf(bias), spanOf(scale), spanOf(branch)));
        tape.note(
                y,
                () -> {
                    Tensor dy = tape.gradientOf(y);
                    boolean branchNeeds = tape.needs(List.of(x), weight, bias);
                    Tensor dz = scale == null || !branchNeeds ? dy : tape.like(dy);
                    if (scale != null && (branchNeeds || branch != null)) {
                        tape.kernels()
                                .elementwise()
                                .layerScaleBackward(
                                        y.rows(),
                                        y.width(),
                                        span(scale),
                                        spanOf(branch),
                                        dy.span(),
                                        branchNeeds ? dz.span() : null,
                                        branch == null ? null : scale.gradient().span());
                    }
                    if (branchNeeds) {
                        backward(tape, x, weight, bias, dz);
                    }
                    tape.accumulate(residual, dy);
                });
        return y;
    }

    static Tensor swiGlu(Tape tape, Tensor x, Parameter gate, Parameter up) {
        requireInput("swiGlu", x, gate);
        Tape.require(gate.shape().equals(up.shape()), "swiGlu", x, gate, up);
        int out = Math.toIntExact(gate.shape().dim(0));
        boolean required = tape.needs(List.of(x), gate, up);
        Tensor y = tape.make(x.dtype(), x.shape().withWidth(out), required);
        Tensor g = required ? tape.like(y) : null;
        Tensor u = required ? tape.like(y) : null;
        tape.kernels()
                .gemm()
                .swiGlu(
                        x.rows(),
                        out,
                        x.width(),
                        x.span(),
                        span(gate),
                        span(up),
                        y.span(),
                        spanOf(g),
                        spanOf(u));
        if (g != null && u != null) {
            tape.note(
                    y,
                    () -> {
                        // g and u become their own gradients: nothing else reads them.
                        tape.kernels()
                                .activation()
                                .swiGluBackward(
                                        y.shape().elements(),
                                        g.span(),
                                        u.span(),
                                        tape.gradientOf(y).span(),
                                        g.span(),
                                        u.span());
                        addWeightGradient(tape, gate, g, x);
                        addWeightGradient(tape, up, u, x);
                        addInputGradient(tape, x, g, gate, u, up);
                    });
        }
        return y;
    }

    /// The gradients of `x W^T + b`, from that of the result.
    static void backward(
            Tape tape, Tensor x, Parameter weight, @Nullable Parameter bias, Tensor dy) {
        addWeightGradient(tape, weight, dy, x);
        addBiasGradient(tape, bias, dy);
        addInputGradient(tape, x, dy, weight, null, null);
    }

    static void addBiasGradient(Tape tape, @Nullable Parameter bias, Tensor dy) {
        if (bias != null && bias.trainable()) {
            tape.kernels()
                    .elementwise()
                    .sumRows(dy.rows(), dy.width(), dy.span(), bias.gradient().span());
        }
    }

    static void addWeightGradient(Tape tape, Parameter weight, Tensor dy, Tensor x) {
        if (weight.trainable()) {
            tape.kernels()
                    .gemm()
                    .multiply(
                            new Gemm.Shape(Gemm.Layout.TN, dy.width(), x.width(), x.rows()),
                            dy.span(),
                            x.span(),
                            weight.gradient().span(),
                            Epilogue.ACCUMULATE);
        }
    }

    /// Adds `dy W`, and a second product where there is one, to x's gradient: in the products' own
    /// chains where its memory may be written.
    private static void addInputGradient(
            Tape tape,
            Tensor x,
            Tensor dy,
            Parameter weight,
            @Nullable Tensor secondDy,
            @Nullable Parameter secondWeight) {
        if (!x.requiresGrad()) {
            return;
        }
        Span present = tape.exclusiveGradient(x);
        Tensor fresh = present == null ? tape.like(x) : null;
        Span dx = fresh == null ? present : fresh.span();
        if (dx == null) {
            throw new AssertionError();
        }
        Gemm.Shape shape = new Gemm.Shape(Gemm.Layout.NN, x.rows(), x.width(), dy.width());
        Gemm gemm = tape.kernels().gemm();
        gemm.multiply(
                shape,
                dy.span(),
                span(weight),
                dx,
                fresh == null ? Epilogue.ACCUMULATE : Epilogue.STORE);
        if (secondDy != null && secondWeight != null) {
            gemm.multiply(shape, secondDy.span(), span(secondWeight), dx, Epilogue.ACCUMULATE);
        }
        if (fresh != null) {
            tape.accumulate(x, fresh);
        }
    }

    static void product(Tape tape, Tensor x, Parameter weight, Tensor y, Epilogue epilogue) {
        tape.kernels()
                .gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NT, x.rows(), y.width(), x.width()),
                        x.span(),
                        span(weight),
                        y.span(),
                        epilogue);
    }

    /// Checks that a weight [out, ..] takes rows of x.
    static void requireInput(String operation, Tensor x, Parameter weight) {
        Shape shape = weight.shape();
        Tape.require(
                x.shape().rank() > 0
                        && shape.rank() >= 2
                        && shape.elements() == shape.dim(0) * x.width(),
                operation,
                x,
                weight);
    }

    /// Checks that a bias or scale has one element for each output.
    static void requireVector(String operation, Parameter weight, @Nullable Parameter vector) {
        if (vector != null) {
            Tape.require(
                    vector.shape().elements() == weight.shape().dim(0), operation, weight, vector);
        }
    }

    static Span span(Parameter parameter) {
        return parameter.value().span();
    }

    private static @Nullable Span spanOf(@Nullable Parameter parameter) {
        return parameter == null ? null : span(parameter);
    }

    private static @Nullable Span spanOf(@Nullable Tensor tensor) {
        return tensor == null ? null : tensor.span();
    }
}
