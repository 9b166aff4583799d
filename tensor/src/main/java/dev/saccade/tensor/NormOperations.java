package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
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
        if (rstd != null) {
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
        return y;
    }

    /// Where a parameter's gradient is added; null for a frozen one.
    static @Nullable Span gradientOrNull(Parameter parameter) {
        return parameter.trainable() ? parameter.gradient().span() : null;
    }
}
