package dev.saccade.kernels.activation;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;

/// Activations on the CPU, a vector at a time; the workers share out blocks of elements.
final class HostActivation implements Activation {
    /// Elements of a block: a few microseconds of work, as much as waking a worker costs.
    private static final int BLOCK = 8192;

    private static final int FLOAT = Float.BYTES;

    private final HostDevice device;

    HostActivation(HostDevice device) {
        this.device = device;
    }

    /// What happens to `count` neighbouring elements, LENGTH or, at the end, fewer.
    private interface Step {
        void run(long offset, int count);
    }

    private void forEach(long count, Step step) {
        int blocks = Math.toIntExact((count + BLOCK - 1) / BLOCK);
        device.run(
                blocks,
                (_, begin, end) -> {
                    long last = Math.min(count, (long) end * BLOCK);
                    for (long i = (long) begin * BLOCK; i < last; i += LENGTH) {
                        step.run(i * FLOAT, (int) Math.min(LENGTH, last - i));
                    }
                });
    }

    private static FloatVector load(long address, int count) {
        return count == LENGTH ? Lanes.load(address) : Lanes.load(address, Lanes.first(count));
    }

    private static void store(FloatVector vector, long address, int count) {
        if (count == LENGTH) {
            Lanes.store(vector, address);
        } else {
            Lanes.store(vector, address, Lanes.first(count));
        }
    }

    @Override
    public void gelu(long count, Span z, Span y) {
        long from = z.require("z", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        forEach(
                count,
                (offset, lanes) ->
                        store(VectorMath.gelu(load(from + offset, lanes)), to + offset, lanes));
    }

    @Override
    public void geluBackward(long count, Span z, Span dy, Span dz) {
        long at = z.require("z", DType.F32, count);
        long from = dy.require("dy", DType.F32, count);
        long to = dz.require("dz", DType.F32, count);
        forEach(
                count,
                (offset, lanes) -> {
                    FloatVector slope = VectorMath.geluDerivative(load(at + offset, lanes));
                    store(load(from + offset, lanes).mul(slope), to + offset, lanes);
                });
    }

    @Override
    public void swiGlu(long count, Span gate, Span up, Span y) {
        long gates = gate.require("gate", DType.F32, count);
        long ups = up.require("up", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        forEach(
                count,
                (offset, lanes) -> {
                    FloatVector silu = VectorMath.silu(load(gates + offset, lanes));
                    store(silu.mul(load(ups + offset, lanes)), to + offset, lanes);
                });
    }

    @Override
    public void swiGluBackward(long count, Span gate, Span up, Span dy, Span dGate, Span dUp) {
        long gates = gate.require("gate", DType.F32, count);
        long ups = up.require("up", DType.F32, count);
        long from = dy.require("dy", DType.F32, count);
        long toGate = dGate.require("dGate", DType.F32, count);
        long toUp = dUp.require("dUp", DType.F32, count);
        forEach(
                count,
                (offset, lanes) -> {
                    FloatVector x = load(gates + offset, lanes);
                    FloatVector u = load(ups + offset, lanes);
                    FloatVector upstream = load(from + offset, lanes);
                    FloatVector divisor = VectorMath.exp(x.neg()).add(1f);
                    FloatVector silu = x.div(divisor); // the same bits as VectorMath.silu
                    FloatVector sigmoid = FloatVector.broadcast(SPECIES, 1f).div(divisor);
                    // silu' = sigmoid + silu (1 - sigmoid)
                    FloatVector slope = silu.fma(sigmoid.neg().add(1f), sigmoid);
                    store(upstream.mul(u).mul(slope), toGate + offset, lanes);
                    store(upstream.mul(silu), toUp + offset, lanes);
                });
    }
}
