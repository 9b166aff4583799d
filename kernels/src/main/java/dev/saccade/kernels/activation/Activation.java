package dev.saccade.kernels.activation;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Pointwise non-linearities and their gradients. The forward forms are usually fused into a
/// product's epilogue ([dev.saccade.kernels.gemm.Gemm]) and give the same bits there for the same
/// F32 argument.
///
/// Elements are of one type T, F32 and on CUDA also BF16; everything is computed in F32 and rounded
/// once, where it is stored.
public interface Activation {

    /// `y = z/2 (1 + erf(z/sqrt 2))` for `count` elements; y may be z.
    void gelu(long count, Span z, Span y);

    /// `dz = dy * (Phi(z) + z phi(z))`, Phi and phi the normal distribution and density; dz may be
    /// dy.
    void geluBackward(long count, Span z, Span dy, Span dz);

    /// `y = silu(gate) * up`.
    void swiGlu(long count, Span gate, Span up, Span y);

    /// `dGate = dy * up * silu'(gate)`, `dUp = dy * silu(gate)`; dGate and dUp may be gate and up.
    void swiGluBackward(long count, Span gate, Span up, Span dy, Span dGate, Span dUp);

    /// The implementation for `device`.
    static Activation on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostActivation(host);
            case CudaDevice cuda -> new CudaActivation(cuda);
        };
    }
}
