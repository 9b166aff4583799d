package dev.saccade.kernels.activation;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.Pointwise;
import dev.saccade.kernels.internal.TypedKernel;

/// Activations on CUDA.
final class CudaActivation implements Activation {
    private final TypedKernel gelu;
    private final TypedKernel geluBackward;
    private final TypedKernel swiGlu;
    private final TypedKernel swiGluBackward;

    CudaActivation(CudaDevice device) {
        Program program = device.program("activation/portable");
        gelu = TypedKernel.of(program, "gelu");
        geluBackward = TypedKernel.of(program, "gelu_backward");
        swiGlu = TypedKernel.of(program, "swiglu");
        swiGluBackward = TypedKernel.of(program, "swiglu_backward");
    }

    @Override
    public void gelu(long count, Span z, Span y) {
        DType dtype = TypedKernel.requireActivation("z", z);
        long from = z.require("z", dtype, count);
        long to = y.require("y", dtype, count);
        Kernel kernel = gelu.of(dtype).begin().int64(count).pointer(from).pointer(to);
        launch(kernel, count, dtype, from | to);
    }

    @Override
    public void geluBackward(long count, Span z, Span dy, Span dz) {
        DType dtype = TypedKernel.requireActivation("z", z);
        long at = z.require("z", dtype, count);
        long from = dy.require("dy", dtype, count);
        long to = dz.require("dz", dtype, count);
        Kernel kernel =
                geluBackward.of(dtype).begin().int64(count).pointer(at).pointer(from).pointer(to);
        launch(kernel, count, dtype, at | from | to);
    }

    @Override
    public void swiGlu(long count, Span gate, Span up, Span y) {
        DType dtype = TypedKernel.requireActivation("gate", gate);
        long gates = gate.require("gate", dtype, count);
        long ups = up.require("up", dtype, count);
        long to = y.require("y", dtype, count);
        Kernel kernel =
                swiGlu.of(dtype).begin().int64(count).pointer(gates).pointer(ups).pointer(to);
        launch(kernel, count, dtype, gates | ups | to);
    }

    @Override
    public void swiGluBackward(long count, Span gate, Span up, Span dy, Span dGate, Span dUp) {
        DType dtype = TypedKernel.requireActivation("gate", gate);
        long gates = gate.require("gate", dtype, count);
        long ups = up.require("up", dtype, count);
        long from = dy.require("dy", dtype, count);
        long toGate = dGate.require("dGate", dtype, count);
        long toUp = dUp.require("dUp", dtype, count);
        Kernel kernel =
                swiGluBackward
                        .of(dtype)
                        .begin()
                        .int64(count)
                        .pointer(gates)
                        .pointer(ups)
                        .pointer(from)
                        .pointer(toGate)
                        .pointer(toUp);
        launch(kernel, count, dtype, gates | ups | from | toGate | toUp);
    }

    /// Launches a kernel that lacks its last argument; `addresses` are those of all operands,
    /// combined by or.
    private static void launch(Kernel kernel, long count, DType dtype, long addresses) {
        kernel.int32(Grids.packed(addresses) ? 1 : 0)
                .launch(Pointwise.blocks(count, dtype.bytes()), Pointwise.THREADS);
    }
}
