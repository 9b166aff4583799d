package dev.saccade.model.vision;

import dev.saccade.model.NormType;
import dev.saccade.model.VisionConfig;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.function.Function;

/// The norm of a vision layer, in both variants.
sealed interface VisionNorm {

    /// Normalises each row.
    Tensor forward(Tape tape, Tensor x);

    /// LayerNorm.
    record Layer(Parameter weight, Parameter bias, float eps) implements VisionNorm {
        @Override
        public Tensor forward(Tape tape, Tensor x) {
            return tape.layerNorm(x, weight, bias, eps);
        }
    }

    /// RMSNorm.
    record RootMeanSquare(Parameter weight, float eps) implements VisionNorm {
        @Override
        public Tensor forward(Tape tape, Tensor x) {
            return tape.rmsNorm(x, weight, eps);
        }
    }

    /// The norm that `config` asks for, with the parameters under `prefix`.
    static VisionNorm of(
            VisionConfig config, String prefix, Function<String, Parameter> parameters) {
        Parameter weight = parameters.apply(prefix + "weight");
        return config.normType() == NormType.LAYER_NORM
                ? new Layer(weight, parameters.apply(prefix + "bias"), config.layerNormEps())
                : new RootMeanSquare(weight, config.layerNormEps());
    }
}
