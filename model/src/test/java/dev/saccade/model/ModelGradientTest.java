package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// The whole model, forward and backward, against [ReferenceModel].
class ModelGradientTest {
    private static final float TEMPERATURE = 0.8f;

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

        double loss(ReferenceModel reference) {
            double loss = 0;
            int next = 0;
            for (int s = 0; s < prompts.size(); s++) {
                for (ReferenceModel.Token token :
                        reference.tokens(prompts.get(s), completions.get(s), TEMPERATURE)) {
                    loss += weights[next++] * token.logProb();
                }
            }
            return loss;
        }
    }

    @ParameterizedTest
    @EnumSource
    void theForwardPassAgreesWithTheReference(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        Case data = Case.random(config, new Random(11));
        try (HostDevice device = HostDevice.open(2);
                VisionLanguageModel model = SmallModels.random(config, Kernels.of(device), 3);
                Tape tape = Tape.inference(model.kernels())) {
            ReferenceModel reference = new ReferenceModel(config, ReferenceModel.weights(model));
            Tape.LogProbs actual =
                    model.logProbs(
                            tape,
                            TrainingBatch.pack(config, data.prompts(), data.completions()),
                            TEMPERATURE);
            float[] logProbs = actual.logProb().toFloats();
            float[] entropies = actual.entropy().toFloats();
            int next = 0;
            for (int s = 0; s < data.prompts().size(); s++) {
                for (ReferenceModel.Token token :
                        reference.tokens(
                                data.prompts().get(s), data.completions().get(s), TEMPERATURE)) {
                    assertThat((double) logProbs[next]).isCloseTo(token.logProb(), within(2e-5));
                    assertThat((double) entropies[next]).isCloseTo(token.entropy(), within(2e-5));
                    next++;
                }
            }
            assertThat(next).isEqualTo(logProbs.length);
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyGradientAgreesWithDirectionalDerivatives(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        Random random = new Random(12);
        Case data = Case.random(config, random);
        try (HostDevice device = HostDevice.open(2);
                VisionLanguageModel model = SmallModels.random(config, Kernels.of(device), 4);
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
            for (Parameter parameter : model.parameters()) {
                assertGradient(parameter, weights, random, () -> data.loss(reference));
            }
        }
    }

    private interface Loss {
        double value();
    }

    private static void assertGradient(
            Parameter parameter, Map<String, double[]> weights, Random random, Loss loss) {
        double[] values = weights.get(parameter.name());
        assertThat(values).isNotNull();
        double[] start = values.clone();
        float[] gradient = parameter.gradient().toFloats();
        double[] direction = new double[start.length];
        double analytic = 0;
        double squares = 0;
        for (int i = 0; i < start.length; i++) {
            direction[i] = random.nextGaussian();
            analytic += gradient[i] * direction[i];
            squares += (double) gradient[i] * gradient[i];
        }
        double step = 1e-5;
        double above = lossAt(values, start, direction, step, loss);
        double below = lossAt(values, start, direction, -step, loss);
        System.arraycopy(start, 0, values, 0, start.length);
        assertThat(analytic)
                .as(parameter.name())
                .isCloseTo((above - below) / (2 * step), within(2e-4 * Math.sqrt(squares) + 2e-5));
    }

    private static double lossAt(
            double[] values, double[] start, double[] direction, double step, Loss loss) {
        for (int i = 0; i < start.length; i++) {
            values[i] = start[i] + step * direction[i];
        }
        return loss.value();
    }
}
