package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// A named weight of a model: its value, its group, and, while it trains, its gradient.
public final class Parameter implements AutoCloseable {
    private final String name;
    private final ParameterGroup group;
    private final Kernels kernels;
    private final DeviceBuffer buffer;
    private final Tensor value;
    private boolean decays;
    private boolean trainable;
    private @Nullable DeviceBuffer gradientBuffer;
    private @Nullable Tensor gradient;

    /// Allocates a parameter; its memory is uninitialised and it is frozen.
    public Parameter(
            String name, ParameterGroup group, Kernels kernels, DType dtype, long... dims) {
        this.name = name;
        this.group = group;
        this.kernels = kernels;
        Shape shape = Shape.of(dims);
        this.buffer = kernels.device().allocate(shape.elements() * dtype.bytes());
        this.value = new Tensor(new Span(buffer, 0, shape.elements(), dtype), shape, false);
        this.decays = shape.rank() >= 2;
    }

    /// Leaves this parameter out of weight decay.
    public Parameter withoutDecay() {
        decays = false;
        return this;
    }

    /// The name in checkpoints.
    public String name() {
        return name;
    }

    /// The part of the model.
    public ParameterGroup group() {
        return group;
    }

    /// The extents.
    public Shape shape() {
        return value.shape();
    }

    /// The weight.
    public Tensor value() {
        return value;
    }

    /// Whether weight decay applies.
    public boolean decays() {
        return decays;
    }

    /// Whether it trains: whether a gradient is computed.
    public boolean trainable() {
        return trainable;
    }

    /// Freezes or unfreezes; freezing gives the gradient's memory back.
    public void trainable(boolean on) {
        trainable = on;
        if (!on) {
            freeGradient();
        }
    }

    /// Whether gradient memory exists.
    public boolean hasGradient() {
        return gradient != null;
    }

    /// The F32 gradient, allocated and zeroed at first use.
    public Tensor gradient() {
        if (!trainable) {
            throw new IllegalStateException(name + " is frozen and has no gradient");
        }
        Tensor present = gradient;
        if (present == null) {
            DeviceBuffer memory = kernels.device().allocate(shape().elements() * 4);
            gradientBuffer = memory;
            present = new Tensor(Span.of(memory, DType.F32), shape(), false);
            gradient = present;
            zeroGradient();
        }
        return present;
    }

    /// Sets the gradient to 0, where there is one.
    public void zeroGradient() {
        Tensor present = gradient;
        if (present != null) {
            kernels.elementwise().fill(shape().elements(), 0, present.span());
        }
    }

    private void freeGradient() {
        if (gradientBuffer != null) {
            gradientBuffer.close();
        }
        gradientBuffer = null;
        gradient = null;
    }

    @Override
    public void close() {
        freeGradient();
        buffer.close();
    }

    @Override
    public String toString() {
        return name + " " + shape();
    }
}
