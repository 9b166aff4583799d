package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// A named weight of a model: its value, the group it belongs to, and, while it trains, its
/// gradient. Owns their memory.
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

    /// A parameter whose memory is allocated and uninitialised. It starts frozen; weight decay
    /// applies to it when it has two dimensions or more.
    ///
    /// @param name the name in checkpoint files
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

    /// Leaves this parameter out of weight decay whatever its rank: for embeddings, class tokens
    /// and positions.
    ///
    /// @return this
    public Parameter withoutDecay() {
        decays = false;
        return this;
    }

    /// The name in checkpoint files.
    public String name() {
        return name;
    }

    /// The part of the model that this belongs to.
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

    /// Whether this trains: whether a backward pass computes its gradient.
    public boolean trainable() {
        return trainable;
    }

    /// Freezes or unfreezes this parameter, for operations recorded from now on. Freezing gives the
    /// gradient's memory back.
    public void trainable(boolean on) {
        trainable = on;
        if (!on) {
            freeGradient();
        }
    }

    /// Whether the gradient has memory.
    public boolean hasGradient() {
        return gradient != null;
    }

    /// The gradient, F32 in the parameter's shape; allocated and 0 at first use, then the same
    /// memory until the parameter is frozen. Backward passes add to it.
    ///
    /// @throws IllegalStateException when the parameter is frozen
    public Tensor gradient() {
        if (!trainable) {
            throw new IllegalStateException(name + " is frozen and has no gradient");
        }
        if (gradient == null) {
            DeviceBuffer memory = kernels.device().allocate(shape().elements() * Float.BYTES);
            gradientBuffer = memory;
            gradient =
                    new Tensor(new Span(memory, 0, shape().elements(), DType.F32), shape(), false);
            zeroGradient();
        }
        return gradient;
    }

    /// Sets the gradient to 0, if it has memory.
    public void zeroGradient() {
        DeviceBuffer memory = gradientBuffer;
        if (memory != null) {
            kernels.device().fill(memory, 0, memory.bytes(), (byte) 0);
        }
    }

    private void freeGradient() {
        if (gradientBuffer != null) {
            gradientBuffer.close();
        }
        gradientBuffer = null;
        gradient = null;
    }

    /// Frees the value and the gradient.
    @Override
    public void close() {
        freeGradient();
        buffer.close();
    }

    /// As `name [2, 3]`.
    @Override
    public String toString() {
        return name + " " + shape();
    }
}
