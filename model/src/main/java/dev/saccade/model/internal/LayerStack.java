package dev.saccade.model.internal;

import dev.saccade.kernels.Span;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.Collection;
import java.util.function.Function;

/// Runs the layers of a tower. Where no gradient will be asked for, each layer's intermediate
/// results are freed with the layer, so that memory does not grow with depth and nothing is left
/// for a backward pass to walk.
public final class LayerStack {
    private LayerStack() {}

    /// One layer: its output has its input's shape.
    @FunctionalInterface
    public interface Layer {
        /// Computes layer `index` on `tape`.
        Tensor apply(Tape tape, int index, Tensor x);
    }

    /// Whether a backward pass through operations on `inputs` and `parameters` would have anything
    /// to do.
    public static boolean records(
            Tape tape, boolean inputRequiresGrad, Collection<Parameter> parameters) {
        return tape.isRecording()
                && (inputRequiresGrad || parameters.stream().anyMatch(Parameter::trainable));
    }

    /// Runs layers 0 to `layers` - 1 on x.
    ///
    /// @param record whether the layers are recorded on `tape`
    public static Tensor run(Tape tape, Tensor x, int layers, boolean record, Layer layer) {
        if (record) {
            Tensor current = x;
            for (int i = 0; i < layers; i++) {
                current = layer.apply(tape, i, current);
            }
            return current;
        }
        Tensor current = tape.empty(x.dtype(), dims(x));
        copy(x, current);
        for (int i = 0; i < layers; i++) {
            try (Tape section = Tape.inference(tape.kernels())) {
                copy(layer.apply(section, i, current), current);
            }
        }
        return current;
    }

    /// Runs `body` without recording; of all it makes only the result is kept, on `tape`.
    public static Tensor withoutRecording(Tape tape, Function<Tape, Tensor> body) {
        try (Tape section = Tape.inference(tape.kernels())) {
            Tensor result = body.apply(section);
            Tensor kept = tape.empty(result.dtype(), dims(result));
            copy(result, kept);
            return kept;
        }
    }

    private static void copy(Tensor from, Tensor to) {
        Span source = from.span();
        Span target = to.span();
        source.device()
                .copy(
                        source.buffer(),
                        source.offset() * source.dtype().bytes(),
                        target.buffer(),
                        target.offset() * target.dtype().bytes(),
                        source.bytes());
    }

    private static long[] dims(Tensor tensor) {
        long[] dims = new long[tensor.shape().rank()];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = tensor.shape().dim(i);
        }
        return dims;
    }
}
