package dev.saccade.model.internal;

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
        Tensor current = x;
        for (int i = 0; i < layers; i++) {
            Tensor next;
            try (Tape section = Tape.inference(tape.kernels())) {
                next = tape.adopt(section, layer.apply(section, i, current));
            }
            if (i > 0) {
                tape.free(current);
            }
            current = next;
        }
        return current;
    }

    /// Runs `body` without recording; of all it makes only the result is kept, on `tape`.
    public static Tensor withoutRecording(Tape tape, Function<Tape, Tensor> body) {
        try (Tape section = Tape.inference(tape.kernels())) {
            return tape.adopt(section, body.apply(section));
        }
    }
}
