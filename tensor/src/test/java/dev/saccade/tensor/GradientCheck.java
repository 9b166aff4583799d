package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;

/// Compares an operation's results and gradients with a float64 function and its central
/// differences. Every parameter and variable is checked, element by element.
///
/// The float64 function starts from values that the target's type holds exactly. In BF16 every
/// stored value is rounded to within 2^-9 of itself; an operation's way back multiplies a few such
/// values, and an error must stay below eight of those steps of the largest element. What is
/// missing, wrong by a factor or at a wrong place is off by the order of an element.
final class GradientCheck implements AutoCloseable {
    private static final double STEP = 1e-5;
    private static final double TOLERANCE = 1e-4;
    private static final double BF16_TOLERANCE = 8 * 0x1p-8;

    /// The operation: variables by name to the output.
    interface Operation {
        Tensor apply(Tape tape, Function<String, Tensor> variables);
    }

    /// The same in float64: values by name to the output.
    interface Reference {
        double[] apply(Map<String, double[]> values);
    }

    final Kernels kernels;
    private final Buffers buffers;
    private final DType dtype;
    private final SplittableRandom random;
    private double tolerance;
    private final Map<String, Parameter> parameters = new LinkedHashMap<>();
    private final Map<String, long[]> variables = new LinkedHashMap<>();
    private final Map<String, double[]> values = new LinkedHashMap<>();

    GradientCheck(Target target, long seed) {
        buffers = target.open();
        kernels = Kernels.of(buffers.device());
        dtype = target.dtype();
        random = new SplittableRandom(seed);
        tolerance = dtype == DType.F32 ? TOLERANCE : BF16_TOLERANCE;
    }

    /// Allows for `operations` operations in a row, each of which rounds what it passes on.
    void allowFor(int operations) {
        tolerance = dtype == DType.F32 ? TOLERANCE : operations * BF16_TOLERANCE;
    }

    Parameter parameter(String name, long... dims) {
        Parameter parameter = new Parameter(name, ParameterGroup.LANGUAGE, kernels, dtype, dims);
        float[] start = fresh(name, dims);
        HostFloats.upload(index -> start[(int) index], parameter.value().span());
        parameter.trainable(true);
        parameters.put(name, parameter);
        return parameter;
    }

    void variable(String name, long... dims) {
        fresh(name, dims);
        variables.put(name, dims);
    }

    private float[] fresh(String name, long... dims) {
        float[] start = Buffers.rounded(dtype, random((int) Shape.of(dims).elements()));
        double[] exact = new double[start.length];
        for (int i = 0; i < start.length; i++) {
            exact[i] = start[i];
        }
        values.put(name, exact);
        return start;
    }

    float[] random(int count) {
        float[] fresh = new float[count];
        for (int i = 0; i < count; i++) {
            fresh[i] = (float) random.nextGaussian();
        }
        return fresh;
    }

    void check(Operation operation, Reference reference) {
        long before = kernels.device().memory().usedBytes();
        try (Tape tape = Tape.recording(kernels)) {
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            for (Map.Entry<String, long[]> variable : variables.entrySet()) {
                double[] exact = values.getOrDefault(variable.getKey(), new double[0]);
                float[] floats = new float[exact.length];
                for (int i = 0; i < floats.length; i++) {
                    floats[i] = (float) exact[i];
                }
                tensors.put(variable.getKey(), tape.variable(dtype, floats, variable.getValue()));
            }
            Tensor output =
                    operation.apply(
                            tape,
                            name -> {
                                Tensor tensor = tensors.get(name);
                                assertThat(tensor).isNotNull();
                                return tensor;
                            });
            assertThat(output.requiresGrad()).isTrue();
            assertClose("output", output.toFloats(), reference.apply(values));
            float[] seed = Buffers.rounded(output.dtype(), random((int) output.shape().elements()));
            tape.backward(output, tape.upload(output.dtype(), seed, output.shape().dims()));
            for (Map.Entry<String, Tensor> variable : tensors.entrySet()) {
                Tensor gradient = tape.gradient(variable.getValue());
                assertThat(gradient).as(variable.getKey()).isNotNull();
                assertGradient(variable.getKey(), gradient.toFloats(), seed, reference);
            }
            for (Parameter parameter : parameters.values()) {
                assertGradient(parameter.name(), parameter.gradient().toFloats(), seed, reference);
            }
        }
        parameters.values().forEach(parameter -> parameter.trainable(false));
        assertThat(kernels.device().memory().usedBytes()).isLessThanOrEqualTo(before + (1 << 20));
        parameters.values().forEach(parameter -> parameter.trainable(true));
    }

    private void assertGradient(String name, float[] actual, float[] seed, Reference reference) {
        double[] point = values.getOrDefault(name, new double[0]);
        double[] expected = new double[point.length];
        for (int i = 0; i < point.length; i++) {
            double middle = point[i];
            point[i] = middle + STEP;
            double above = loss(seed, reference);
            point[i] = middle - STEP;
            double below = loss(seed, reference);
            point[i] = middle;
            expected[i] = (above - below) / (2 * STEP);
        }
        assertClose("gradient of " + name, actual, expected);
    }

    private double loss(float[] seed, Reference reference) {
        double[] output = reference.apply(values);
        double loss = 0;
        for (int i = 0; i < seed.length; i++) {
            loss += seed[i] * output[i];
        }
        return loss;
    }

    /// Equal to within a share of the largest element.
    private void assertClose(String what, float[] actual, double[] expected) {
        assertThat(actual.length).as(what).isEqualTo(expected.length);
        double largest = 0;
        for (double value : expected) {
            largest = Math.max(largest, Math.abs(value));
        }
        for (int i = 0; i < actual.length; i++) {
            assertThat((double) actual[i])
                    .as("%s, element %d", what, i)
                    .isCloseTo(expected[i], within(tolerance * largest + 1e-7));
        }
    }

    @Override
    public void close() {
        parameters.values().forEach(Parameter::close);
        buffers.close();
    }
}
