package dev.saccade.kernels.gemm;

import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// What happens to a product's fp32 accumulator `s[m,n]` before it is stored as an element of C.
///
/// All operations are in fp32 and in the order written, on values widened from the operands' types;
/// each result is rounded to C's type once, at its store, and what follows goes on from the value
/// before that rounding. So an optional result never changes another one. Types: [Gemm].
public sealed interface Epilogue {

    /// `c = s`.
    record Store() implements Epilogue {}

    /// The chain starts from C's old value instead of 0: `c = c + a x b`. For weight gradients,
    /// whose C is F32.
    record Accumulate() implements Epilogue {}

    /// `c = s + bias[n]`.
    record Bias(Span bias) implements Epilogue {}

    /// `c = gelu(s + bias[n])`, gelu(z) = z/2 (1 + erf(z/sqrt 2)); `preActivation` [m,n] receives
    /// `s + bias` for the backward pass when not null.
    record BiasGelu(Span bias, @Nullable Span preActivation) implements Epilogue {}

    /// `c = residual[m,n] + scale[n] * (s + bias[n])`; a null bias is 0, a null scale is 1.
    /// `branch` [m,n] receives `s + bias` for the backward pass of the scale when not null.
    /// Rounding: `z = s + bias`; `c = scale == null ? residual + z : fma(scale, z, residual)`.
    record Residual(Span residual, @Nullable Span bias, @Nullable Span scale, @Nullable Span branch)
            implements Epilogue {}

    /// `c = s * gelu'(preActivation[m,n])`, gelu'(z) = Phi(z) + z phi(z) with the normal
    /// distribution and density: the input gradient of the layer behind a GELU, taken back through
    /// the GELU. preActivation is what [BiasGelu] kept, in C's type, and may be C.
    ///
    /// Rounding: z is widened, gelu' computed in fp32 and s multiplied by it, rounded once, as
    /// [dev.saccade.kernels.activation.Activation#geluBackward] does it: where C is F32, the bits
    /// are those of a plain product and that operation. Where C is BF16, the product is not rounded
    /// before it is multiplied, as it would be between the two.
    record GeluBackward(Span preActivation) implements Epilogue {}

    /// The plain store.
    Epilogue STORE = new Store();

    /// The plain accumulation.
    Epilogue ACCUMULATE = new Accumulate();
}
