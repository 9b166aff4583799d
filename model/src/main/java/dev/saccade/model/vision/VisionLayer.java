package dev.saccade.model.vision;

import static dev.saccade.model.ParameterSpecification.vector;
import static dev.saccade.model.ParameterSpecification.weight;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.NormType;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.model.VisionConfig;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// One layer of the vision tower.
final class VisionLayer {
    /// The epsilon of the norm on queries and keys is fixed, whatever layer_norm_eps says.
    private static final float QK_NORM_EPS = 1e-6f;

    private final VisionNorm normBefore;
    private final Projection query;
    private final Projection key;
    private final Projection value;
    private final @Nullable Parameter queryNorm;
    private final @Nullable Parameter keyNorm;
    private final Parameter outputWeight;
    private final Parameter outputBias;
    private final Parameter attentionScale;
    private final VisionNorm normAfter;
    private final Parameter upWeight;
    private final Parameter upBias;
    private final Parameter downWeight;
    private final Parameter downBias;
    private final Parameter mlpScale;

    VisionLayer(VisionConfig config, String prefix, Function<String, Parameter> parameters) {
        String attention = prefix + "attention.";
        this.normBefore = VisionNorm.of(config, prefix + "layernorm_before.", parameters);
        this.query = Projection.of(config, attention + "q_proj.", parameters);
        this.key = Projection.of(config, attention + "k_proj.", parameters);
        this.value = Projection.of(config, attention + "v_proj.", parameters);
        boolean qkNorm = config.useQkNorm();
        this.queryNorm = qkNorm ? parameters.apply(attention + "q_norm.weight") : null;
        this.keyNorm = qkNorm ? parameters.apply(attention + "k_norm.weight") : null;
        this.outputWeight = parameters.apply(attention + "projection_layer.weight");
        this.outputBias = parameters.apply(attention + "projection_layer.bias");
        this.attentionScale = parameters.apply(prefix + "lambda_1");
        this.normAfter = VisionNorm.of(config, prefix + "layernorm_after.", parameters);
        this.upWeight = parameters.apply(prefix + "mlp.fc1.weight");
        this.upBias = parameters.apply(prefix + "mlp.fc1.bias");
        this.downWeight = parameters.apply(prefix + "mlp.fc2.weight");
        this.downBias = parameters.apply(prefix + "mlp.fc2.bias");
        this.mlpScale = parameters.apply(prefix + "lambda_2");
    }

    /// A linear layer whose bias the variant may lack.
    private record Projection(Parameter weight, @Nullable Parameter bias) {
        static Projection of(
                VisionConfig config, String prefix, Function<String, Parameter> parameters) {
            return new Projection(
                    parameters.apply(prefix + "weight"),
                    config.attentionBias() ? parameters.apply(prefix + "bias") : null);
        }

        Tensor forward(Tape tape, Tensor x) {
            return tape.linear(x, weight, bias);
        }
    }

    static void addParameters(
            VisionConfig config, String prefix, List<ParameterSpecification> all) {
        ParameterGroup group = ParameterGroup.VISION;
        long width = config.hiddenSize();
        long inner = config.intermediateSize();
        String attention = prefix + "attention.";
        addNorm(config, prefix + "layernorm_before.", all);
        for (String name : new String[] {"q_proj.", "k_proj.", "v_proj."}) {
            all.add(weight(attention + name + "weight", group, width, width));
            if (config.attentionBias()) {
                all.add(vector(attention + name + "bias", group, 0, width));
            }
        }
        if (config.useQkNorm()) {
            all.add(vector(attention + "q_norm.weight", group, 1, width));
            all.add(vector(attention + "k_norm.weight", group, 1, width));
        }
        all.add(weight(attention + "projection_layer.weight", group, width, width));
        all.add(vector(attention + "projection_layer.bias", group, 0, width));
        all.add(vector(prefix + "lambda_1", group, config.layerScaleInitValue(), width));
        addNorm(config, prefix + "layernorm_after.", all);
        all.add(weight(prefix + "mlp.fc1.weight", group, inner, width));
        all.add(vector(prefix + "mlp.fc1.bias", group, 0, inner));
        all.add(weight(prefix + "mlp.fc2.weight", group, width, inner));
        all.add(vector(prefix + "mlp.fc2.bias", group, 0, width));
        all.add(vector(prefix + "lambda_2", group, config.layerScaleInitValue(), width));
    }

    private static void addNorm(
            VisionConfig config, String prefix, List<ParameterSpecification> all) {
        all.add(vector(prefix + "weight", ParameterGroup.VISION, 1, config.hiddenSize()));
        if (config.normType() == NormType.LAYER_NORM) {
            all.add(vector(prefix + "bias", ParameterGroup.VISION, 0, config.hiddenSize()));
        }
    }

    Tensor forward(Tape tape, Tensor x, Attention.Shape attention, Attention.Sequences sequences) {
        Tensor normed = normBefore.forward(tape, x);
        Tensor queries = query.forward(tape, normed);
        Tensor keys = key.forward(tape, normed);
        Tensor values = value.forward(tape, normed);
        if (queryNorm != null && keyNorm != null) {
            Tape.Both normalised = tape.rmsNormBoth(queries, queryNorm, keys, keyNorm, QK_NORM_EPS);
            queries = normalised.first();
            keys = normalised.second();
        }
        Tensor mixed = tape.attention(queries, keys, values, attention, sequences);
        Tensor attended = tape.linearResidual(mixed, outputWeight, outputBias, attentionScale, x);
        Tensor inner = tape.linearGelu(normAfter.forward(tape, attended), upWeight, upBias);
        return tape.linearResidual(inner, downWeight, downBias, mlpScale, attended);
    }
}
