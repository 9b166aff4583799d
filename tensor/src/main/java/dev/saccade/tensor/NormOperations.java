package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.norm.Norm;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm.
final class NormOperations {
    private NormOperations() {}

    static Tensor layerNorm(Tape tape, Tensor x, Parameter weight, Parameter bias, float eps) {
        Tape.require(
                weight.shape().elements() == x.width() && bias.shape().elements() == x.width(),
                "layerNorm",
                x,
                weight,
                bias);
        boolean required = tape.needs(List.of(x), weight, bias);
        Tensor y = tape.make(x.dtype(), x.shape(), required);
        Tensor mean = required ? tape.empty(DType.F32, x.rows()) : null;
        Tensor rstd = required ? tape.empty(DType.F32, x.rows()) : null;
        tape.kernels()
                .norm()
                .layerNorm(
                        x.rows(),
                        x.width(),
                        eps,
                        x.span(),
                        weight.value().span(),
                        bias.value().span(),
                        y.span(),
                        mean == null ? null : mean.span(),
                        rstd == null ? null : rstd.span());
        if (mean != null && rstd != null) {
            tape.note(
                    y,
                    () -> {
                        Tensor dx = x.requiresGrad() ? tape.like(x) : null;
                        tape.kernels()
                                .norm()
                                .layerNormBackward(
                                        x.rows(),
                                        x.width(),
                                        x.span(),
                                        weight.value().span(),
                                        mean.span(),
                                        rstd.span(),
                                        tape.gradientOf(y).span(),
                                        dx == null ? null : dx.span(),
                                        gradientOrNull(weight),
                                        gradientOrNull(bias));
                        if (dx != null) {
                            tape.accumulate(x, dx);
                        }
                    });
        }
        return y;
    }

    static Tensor rmsNorm(Tape tape, Tensor x, Parameter weight, float eps) {
        Tape.require(weight.shape().elements() == x.width(), "rmsNorm", x, weight);
        boolean required = tape.needs(List.of(x), weight);
        Tensor y = tape.make(x.dtype(), x.shape(), required);
        Tensor rstd = required ? tape.empty(DType.F32, x.rows()) : null;
        tape.kernels()
                .norm()
                .rmsNorm(
                        x.rows(),
                        x.width(),
                        eps,
                        x.span(),
                        weight.value().span(),
                        y.span(),
                        rstd == null ? null : rstd.span());
        noteRmsNorm(tape, x, weight, y, rstd);
        return y;
    }

    static Tape.Both rmsNormBoth(
            Tape tape,
            Tensor first,
            Parameter firstWeight,
            Tensor second,
            Parameter secondWeight,
            float eps) {
        Tape.require(
                first.shape().equals(second.shape())
                        && first.dtype() == second.dtype()
                        && firstWeight.shape().elements() == first.width()
                        && secondWeight.shape().elements() == first.width(),
                "rmsNormBoth",
                first,
                firstWeight,
                second,
                secondWeight);
        boolean firstRequired = tape.needs(List.of(first), firstWeight);
        boolean secondRequired = tape.needs(List.of(second), secondWeight);
        // Only the way back needs what was normalised.
        Tensor y0 = firstRequired ? tape.make(first.dtype(), first.shape(), true) : first;
        Tensor y1 = secondRequired ? tape.make(second.dtype(), second.shape(), true) : second;
        Tensor rstd0 = firstRequired ? tape.empty(DType.F32, first.rows()) : null;
        Tensor rstd1 = secondRequired ? tape.empty(DType.F32, second.rows()) : null;
        tape.kernels()
                .norm()
                .rmsNormBoth(
                        first.rows(),
                        first.width(),
                        eps,
                        operands(first, firstWeight, y0, rstd0),
                        operands(second, secondWeight, y1, rstd1));
        noteRmsNorm(tape, first, firstWeight, y0, rstd0);
        noteRmsNorm(tape, second, secondWeight, y1, rstd1);
        return new Tape.Both(y0, y1);
    }

    private static Norm.Operands operands(
            Tensor x, Parameter weight, Tensor y, @Nullable Tensor rstd) {
        return new Norm.Operands(
                x.span(), weight.value().span(), y.span(), rstd == null ? null : rstd.span());
    }

    /// @param rstd null where nothing needs a gradient
    private static void noteRmsNorm(
            Tape tape, Tensor x, Parameter weight, Tensor y, @Nullable Tensor rstd) {
        if (rstd == null) {
            return;
        }
        tape.note(
                y,
                () -> {
                    Tensor dx = x.requiresGrad() ? tape.like(x) : null;
                    tape.kernels()
                            .norm()
                            .rmsNormBackward(
                                    x.rows(),
                                    x.width(),
                                    x.span(),
                                    weight.value().span(),
                                    rstd.span(),
                                    tape.gradientOf(y).span(),
                                    dx == null ? null : dx.span(),
                                    gradientOrNull(weight));
                    if (dx != null) {
                        tape.accumulate(x, dx);
                    }
                });
    }

    /// Where a parameter's gradient is added; null for a frozen one.
    static @Nullable Span gradientOrNull(Parameter parameter) {
        return parameter.trainable() ? parameter.gradient().span() : null;
    }
}
