package dev.saccade.kernels.activation;

import static dev.saccade.kernels.internal.Lanes.LENGTH;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/// Activations on the CPU, in blocks of 4096 elements.
final class HostActivation implements Activation {
    private static final int BLOCK = 4096;

    private final HostDevice device;

    HostActivation(HostDevice device) {
        this.device = device;
    }

    /// A piece of a loop over elements.
    private interface Range {
        void run(long from, long to);
    }

    private void forEach(long count, Range range) {
        int blocks = Math.toIntExact((count + BLOCK - 1) / BLOCK);
        device.run(
                blocks,
                (_, begin, end) ->
                        range.run((long) begin * BLOCK, Math.min(count, (long) end * BLOCK)));
    }

    @Override
    public void gelu(long count, Span z, Span y) {
        long from = z.require("z", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        forEach(
                count,
                (begin, end) -> {
                    for (long i = begin; i < end; i += LENGTH) {
                        VectorMask<Float> mask = Lanes.first((int) Math.min(LENGTH, end - i));
                        Lanes.store(
                                VectorMath.gelu(Lanes.load(from + i * 4, mask)), to + i * 4, mask);
                    }
                });
    }

    @Override
    public void geluBackward(long count, Span z, Span dy, Span dz) {
        long at = z.require("z", DType.F32, count);
        long from = dy.require("dy", DType.F32, count);
        long to = dz.require("dz", DType.F32, count);
        forEach(
                count,
                (begin, end) -> {
                    for (long i = begin; i < end; i += LENGTH) {
                        VectorMask<Float> mask = Lanes.first((int) Math.min(LENGTH, end - i));
                        FloatVector slope =
                                VectorMath.geluDerivative(Lanes.load(at + i * 4, mask));
                        Lanes.store(
                                Lanes.load(from + i * 4, mask).mul(slope), to + i * 4, mask);
                    }
                });
    }

    @Override
    public void swiGlu(long count, Span gate, Span up, Span y) {
        long g = gate.require("gate", DType.F32, count);
        long u = up.require("up", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        forEach(
                count,
                (begin, end) -> {
                    for (long i = begin; i < end; i += LENGTH) {
                        VectorMask<Float> mask = Lanes.first((int) Math.min(LENGTH, end - i));
                        FloatVector silu = VectorMath.silu(Lanes.load(g + i * 4, mask));
                        Lanes.store(silu.mul(Lanes.load(u + i * 4, mask)), to + i * 4, mask);
                    }
                });
    }

    @Override
    public void swiGluBackward(long count, Span gate, Span up, Span dy, Span dGate, Span dUp) {
        long g = gate.require("gate", DType.F32, count);
        long u = up.require("up", DType.F32, count);
        long d = dy.require("dy", DType.F32, count);
        long toGate = dGate.require("dGate", DType.F32, count);
        long toUp = dUp.require("dUp", DType.F32, count);
        forEach(
                count,
                (begin, end) -> {
                    for (long i = begin; i < end; i += LENGTH) {
                        VectorMask<Float> mask = Lanes.first((int) Math.min(LENGTH, end - i));
                        FloatVector x = Lanes.load(g + i * 4, mask);
                        FloatVector s = VectorMath.sigmoid(x);
                        FloatVector silu = x.mul(s);
                        // silu' = s (1 + x (1 - s)) = s + silu - silu s
                        FloatVector slope = s.add(silu).sub(silu.mul(s));
                        FloatVector upstream = Lanes.load(d + i * 4, mask);
                        FloatVector value = Lanes.load(u + i * 4, mask);
                        Lanes.store(upstream.mul(value).mul(slope), toGate + i * 4, mask);
                        Lanes.store(upstream.mul(silu), toUp + i * 4, mask);
                    }
                });
    }
}
