package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// A small network from first values to a low loss, on every device.
@Tag("device")
final class TrainingTest {
    private static final int ROWS = 64;
    private static final int INPUTS = 6;
    private static final int CLASSES = 5;
    private static final int STEPS = 120;

    /// The losses of every step, then all weights.
    private static List<float[]> train(Target target) {
        try (Buffers buffers = target.open()) {
            return train(buffers.device(), target.dtype());
        }
    }

    private static List<float[]> train(Device device, DType dtype) {
        List<float[]> results = new ArrayList<>();
        List<Parameter> parameters = new ArrayList<>();
        try {
            Kernels kernels = Kernels.of(device);
            Parameter first = add(parameters, kernels, dtype, "first.weight", 32, INPUTS);
            Parameter firstBias = add(parameters, kernels, dtype, "first.bias", 32);
            Parameter norm = add(parameters, kernels, dtype, "norm.weight", 32);
            Parameter gate = add(parameters, kernels, dtype, "gate.weight", 48, 32);
            Parameter up = add(parameters, kernels, dtype, "up.weight", 48, 32);
            Parameter down = add(parameters, kernels, dtype, "down.weight", 32, 48);
            Parameter head = add(parameters, kernels, dtype, "head.weight", CLASSES, 32);
            Initializer.constant(norm, 1);
            SplittableRandom random = new SplittableRandom(4);
            float[] x = new float[ROWS * INPUTS];
            for (int i = 0; i < x.length; i++) {
                x[i] = (float) random.nextGaussian();
            }
            int[] classes = new int[ROWS];
            for (int r = 0; r < ROWS; r++) {
                // Which quadrant, and a class of its own near the middle: not linear.
                float a = x[r * INPUTS];
                float b = x[r * INPUTS + 1];
                classes[r] = a * a + b * b < 0.5f ? 4 : (a > 0 ? 1 : 0) + (b > 0 ? 2 : 0);
            }
            float[] seed = new float[ROWS];
            Arrays.fill(seed, -1f / ROWS);
            Schedule schedule = new Schedule.Cosine(0.01, 10, STEPS, 0.1);
            float[] losses = new float[STEPS];
            try (AdamW optimizer =
                    new AdamW(kernels, parameters, new AdamW.Settings(0.9, 0.99, 1e-8, 0.01, 1))) {
                for (int step = 0; step < STEPS; step++) {
                    try (Tape tape = Tape.recording(kernels)) {
                        Tensor inputs = tape.upload(dtype, x, ROWS, INPUTS);
                        Tensor hidden = tape.linearGelu(inputs, first, firstBias);
                        Tensor inner = tape.swiGlu(tape.rmsNorm(hidden, norm, 1e-6f), gate, up);
                        Tensor last = tape.linearResidual(inner, down, null, null, hidden);
                        Tensor weights = tape.upload(seed, ROWS);
                        Tape.LogProbs result =
                                tape.logProbs(last, head, tape.upload(classes, ROWS), 1, null);
                        losses[step] =
                                (float)
                                        kernels.elementwise()
                                                .dot(ROWS, result.logProb().span(), weights.span());
                        tape.backward(result.logProb(), weights);
                    }
                    optimizer.step(schedule.at(step), 1);
                    optimizer.zeroGradients();
                }
            }
            results.add(losses);
            for (Parameter parameter : parameters) {
                results.add(parameter.value().toFloats());
            }
        } finally {
            parameters.forEach(Parameter::close);
        }
        return results;
    }

    private static Parameter add(
            List<Parameter> parameters, Kernels kernels, DType dtype, String name, long... dims) {
        Parameter parameter = new Parameter(name, ParameterGroup.LANGUAGE, kernels, dtype, dims);
        Initializer.normal(parameter, 1 / Math.sqrt(parameter.shape().width()), 7);
        parameter.trainable(true);
        parameters.add(parameter);
        return parameter;
    }

    @ParameterizedTest
    @EnumSource
    void itLearnsAndEveryRunHasTheSameBits(Target target) {
        List<float[]> one = train(target);
        float[] losses = one.getFirst();
        assertThat(losses[0]).isBetween(1f, 4f);
        assertThat(losses[STEPS - 1]).isLessThan(0.2f);
        assertSame(train(target), one);
        if (!target.isCuda()) {
            try (HostDevice device = HostDevice.open(1)) {
                assertSame(train(device, target.dtype()), one);
            }
        }
    }

    private static void assertSame(List<float[]> actual, List<float[]> expected) {
        for (int i = 0; i < expected.size(); i++) {
            assertThat(actual.get(i)).isEqualTo(expected.get(i));
        }
    }
}
