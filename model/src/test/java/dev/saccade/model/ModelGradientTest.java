package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// The whole model, forward and backward, against [ReferenceModel], on every device.
///
/// In bfloat16 the bound on values is twice the error that rounding every activation makes in the
/// reference. Gradients are off by some roundings of theirs; where the exact one is 0, as for the
/// biases of a vision layer's keys, all that is there is rounding, a small share of what other
/// parameters have.
@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
class ModelGradientTest {
    private static final float TEMPERATURE = 0.8f;

    private final Target target;

    ModelGradientTest(Target target) {
        this.target = target;
    }

    private record Case(List<Prompt> prompts, List<int[]> completions, float[] weights) {
        static Case random(VisionLanguageConfig config, Random random) {
            Prompt shared = SmallModels.prompt(config, 5, 1, random);
            List<Prompt> prompts =
                    List.of(
                            shared,
                            SmallModels.prompt(config, 6, 2, random),
                            SmallModels.prompt(config, 3, 0, random),
                            shared);
            List<int[]> completions = new ArrayList<>();
            int total = 0;
            for (int s = 0; s < prompts.size(); s++) {
                completions.add(SmallModels.completion(config, 2 + 3 * s, random));
                total += 2 + 3 * s;
            }
            float[] weights = new float[total];
            for (int i = 0; i < total; i++) {
                weights[i] = (float) random.nextGaussian();
            }
            return new Case(prompts, completions, weights);
        }

        List<ReferenceModel.Token> tokens(ReferenceModel reference) {
            List<ReferenceModel.Token> tokens = new ArrayList<>();
            for (int s = 0; s < prompts.size(); s++) {
                tokens.addAll(
                        List.of(reference.tokens(prompts.get(s), completions.get(s), TEMPERATURE)));
            }
            return tokens;
        }

        double loss(ReferenceModel reference) {
            double loss = 0;
            int next = 0;
            for (ReferenceModel.Token token : tokens(reference)) {
                loss += weights[next++] * token.logProb();
            }
            return loss;
        }
    }

    @ParameterizedTest
    @EnumSource
    void theForwardPassAgreesWithTheReference(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        Case data = Case.random(config, new Random(11));
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(config, Kernels.of(buffers.device()), target, 3);
                Tape tape = Tape.inference(model.kernels())) {
            ReferenceModel reference = new ReferenceModel(config, ReferenceModel.weights(model));
            Tape.LogProbs actual =
                    model.logProbs(
                            tape,
                            TrainingBatch.pack(config, data.prompts(), data.completions()),
                            TEMPERATURE);
            float[] logProbs = actual.logProb().toFloats();
            float[] entropies = actual.entropy().toFloats();
            List<ReferenceModel.Token> exact = data.tokens(reference);
            double bound =
                    target.dtype() == DType.F32
                            ? 2e-5
                            : 2 * largestError(exact, data.tokens(reference.rounded()));
            assertThat(bound).isLessThan(0.5);
            assertThat(logProbs).hasSameSizeAs(exact);
            for (int i = 0; i < exact.size(); i++) {
                ReferenceModel.Token token = exact.get(i);
                assertThat((double) logProbs[i]).isCloseTo(token.logProb(), within(bound));
                assertThat((double) entropies[i]).isCloseTo(token.entropy(), within(bound));
            }
        }
    }

    private static double largestError(
            List<ReferenceModel.Token> exact, List<ReferenceModel.Token> rounded) {
        double largest = 0;
        for (int i = 0; i < exact.size(); i++) {
            largest =
                    Math.max(
                            largest,
                            Math.max(
                                    Math.abs(exact.get(i).logProb() - rounded.get(i).logProb()),
                                    Math.abs(exact.get(i).entropy() - rounded.get(i).entropy())));
        }
        return largest;
    }

    @ParameterizedTest
    @EnumSource
    void everyGradientAgreesWithDirectionalDerivatives(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        Random random = new Random(12);
        Case data = Case.random(config, random);
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(config, Kernels.of(buffers.device()), target, 4);
                Tape tape = Tape.recording(model.kernels())) {
            Tape.LogProbs actual =
                    model.logProbs(
                            tape,
                            TrainingBatch.pack(config, data.prompts(), data.completions()),
                            TEMPERATURE);
            Tensor seed = tape.upload(data.weights(), data.weights().length);
            tape.backward(actual.logProb(), seed);
            Map<String, double[]> weights = ReferenceModel.weights(model);
            ReferenceModel reference = new ReferenceModel(config, weights);
            double typical = 0;
            for (Parameter parameter : model.parameters()) {
                typical += norm(parameter.gradient().toFloats()) / model.parameters().size();
            }
            for (Parameter parameter : model.parameters()) {
                assertGradient(parameter, typical, weights, random, () -> data.loss(reference));
            }
        }
    }

    private interface Loss {
        double value();
    }

    private static double norm(float[] values) {
        double squares = 0;
        for (float value : values) {
            squares += (double) value * value;
        }
        return Math.sqrt(squares);
    }

    /// @param typical the mean norm of a parameter's gradient
    private void assertGradient(
            Parameter parameter,
            double typical,
            Map<String, double[]> weights,
            Random random,
            Loss loss) {
        double[] values = weights.get(parameter.name());
        assertThat(values).isNotNull();
        double[] start = values.clone();
        float[] gradient = parameter.gradient().toFloats();
        double[] direction = new double[start.length];
        double analytic = 0;
        for (int i = 0; i < start.length; i++) {
            direction[i] = random.nextGaussian();
            analytic += gradient[i] * direction[i];
        }
        double step = 1e-5;
        double above = lossAt(values, start, direction, step, loss);
        double below = lossAt(values, start, direction, -step, loss);
        System.arraycopy(start, 0, values, 0, start.length);
        assertThat(analytic)
                .as(parameter.name())
                .isCloseTo(
                        (above - below) / (2 * step),
                        within(
                                target.dtype() == DType.F32
                                        ? 2e-4 * norm(gradient) + 2e-5
                                        : 0.1 * norm(gradient) + 0.02 * typical));
    }

    private static double lossAt(
            double[] values, double[] start, double[] direction, double step, Loss loss) {
        for (int i = 0; i < start.length; i++) {
            values[i] = start[i] + step * direction[i];
        }
        return loss.value();
    }
}
