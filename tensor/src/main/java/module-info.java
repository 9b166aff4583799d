import org.jspecify.annotations.NullMarked;

/// Tensors, the tape, parameters, the optimiser, checkpoint files.
@NullMarked
module dev.saccade.tensor {
    requires transitive dev.saccade.kernels;
    requires tools.jackson.databind;

    exports dev.saccade.tensor;
}
