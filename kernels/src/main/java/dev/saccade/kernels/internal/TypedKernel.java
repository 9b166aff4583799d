package dev.saccade.kernels.internal;

import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;

/// A kernel for each type of activations, F32 and BF16.
public record TypedKernel(Kernel f32, Kernel bf16) {

    /// The kernels `name_f32` and `name_bf16`.
    public static TypedKernel of(Program program, String name) {
        return new TypedKernel(program.kernel(name + "_f32"), program.kernel(name + "_bf16"));
    }

    /// The one for `dtype`, which [#requireActivation] let pass.
    public Kernel of(DType dtype) {
        return dtype == DType.F32 ? f32 : bf16;
    }

    /// The type of an operand that may have either.
    ///
    /// @throws IllegalArgumentException naming the operand, for any other type
    public static DType requireActivation(String operand, Span span) {
        DType dtype = span.dtype();
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException(
                    "%s is %s, expected F32 or BF16".formatted(operand, dtype));
        }
        return dtype;
    }
}
