package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class AdamWTest {
    private static final AdamW.Settings SETTINGS = new AdamW.Settings(0.9, 0.95, 1e-8, 0.1, 1);

    private final HostDevice device = HostDevice.open(2);
    private final Kernels kernels = Kernels.of(device);
    private final List<Parameter> made = new ArrayList<>();

    @TempDir Path folder;

    @AfterEach
    void close() {
        made.forEach(Parameter::close);
        device.close();
    }

    private Parameter parameter(String name, DType dtype, long... dims) {
        Parameter parameter = new Parameter(name, ParameterGroup.LANGUAGE, kernels, dtype, dims);
        Initializer.normal(parameter, 1, 5);
        parameter.trainable(true);
        made.add(parameter);
        return parameter;
    }

    private List<Parameter> parameters(DType dtype) {
        return List.of(
                parameter("matrix", dtype, 37, 11),
                parameter("vector", dtype, 13),
                parameter("table", dtype, 5, 4).withoutDecay());
    }

    private static void setGradient(Parameter parameter, float[] values) {
        Tensor gradient = parameter.gradient();
        gradient.device().upload(MemorySegment.ofArray(values), gradient.span().buffer(), 0);
    }

    private static float[] random(Parameter parameter, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] values = new float[(int) parameter.shape().elements()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static void steps(AdamW optimizer, List<Parameter> parameters, int from, int to) {
        for (int step = from; step < to; step++) {
            for (Parameter parameter : parameters) {
                setGradient(parameter, random(parameter, 100 + step));
            }
            optimizer.step(1e-2, 0.5);
        }
    }

    private static List<byte[]> bits(List<Parameter> parameters) {
        List<byte[]> all = new ArrayList<>();
        for (Parameter parameter : parameters) {
            byte[] bytes = new byte[(int) parameter.value().span().bytes()];
            parameter
                    .value()
                    .device()
                    .download(parameter.value().span().buffer(), 0, MemorySegment.ofArray(bytes));
            all.add(bytes);
        }
        return all;
    }

    @Test
    void stepsAgreeWithFloat64() {
        List<Parameter> parameters = parameters(DType.F32);
        List<double[]> weights = new ArrayList<>();
        List<double[]> first = new ArrayList<>();
        List<double[]> second = new ArrayList<>();
        for (Parameter parameter : parameters) {
            float[] start = parameter.value().toFloats();
            double[] exact = new double[start.length];
            for (int i = 0; i < start.length; i++) {
                exact[i] = start[i];
            }
            weights.add(exact);
            first.add(new double[start.length]);
            second.add(new double[start.length]);
        }
        double lr = 1e-2;
        try (AdamW optimizer = new AdamW(kernels, parameters, SETTINGS)) {
            for (int step = 1; step <= 6; step++) {
                double squares = 0;
                for (Parameter parameter : parameters) {
                    float[] gradient = random(parameter, step);
                    setGradient(parameter, gradient);
                    for (float g : gradient) {
                        squares += 0.25 * g * g;
                    }
                }
                double norm = Math.sqrt(squares);
                AdamW.StepResult result = optimizer.step(lr, 0.5);
                assertThat(result.gradNorm()).isCloseTo(norm, within(1e-9 * norm));
                assertThat(result.lr()).isEqualTo(lr);
                double scale = 0.5 * Math.min(1, 1 / (norm + 1e-6));
                for (int p = 0; p < parameters.size(); p++) {
                    float[] gradient = random(parameters.get(p), step);
                    double decay = p == 0 ? SETTINGS.weightDecay() : 0;
                    for (int i = 0; i < gradient.length; i++) {
                        double g = scale * gradient[i];
                        double m = 0.9 * first.get(p)[i] + 0.1 * g;
                        double v = 0.95 * second.get(p)[i] + 0.05 * g * g;
                        first.get(p)[i] = m;
                        second.get(p)[i] = v;
                        double root = Math.sqrt(v / (1 - Math.pow(0.95, step))) + 1e-8;
                        weights.get(p)[i] *= 1 - lr * decay;
                        weights.get(p)[i] -= lr * m / (1 - Math.pow(0.9, step)) / root;
                    }
                }
            }
            assertThat(optimizer.steps()).isEqualTo(6);
        }
        for (int p = 0; p < parameters.size(); p++) {
            float[] actual = parameters.get(p).value().toFloats();
            for (int i = 0; i < actual.length; i++) {
                assertThat((double) actual[i]).isCloseTo(weights.get(p)[i], within(2e-6));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void aRestoredOptimizerGoesOnBitForBit(DType dtype) {
        List<Parameter> straight = parameters(dtype);
        try (AdamW optimizer = new AdamW(kernels, straight, SETTINGS)) {
            steps(optimizer, straight, 0, 10);
        }
        List<Parameter> resumed = parameters(dtype);
        Path file = folder.resolve("optimizer.safetensors");
        try (AdamW optimizer = new AdamW(kernels, resumed, SETTINGS)) {
            steps(optimizer, resumed, 0, 5);
            optimizer.save(file);
            assertThat(bits(resumed)).isNotEqualTo(bits(straight));
        }
        try (AdamW optimizer = new AdamW(kernels, resumed, SETTINGS)) {
            optimizer.restore(file);
            assertThat(optimizer.steps()).isEqualTo(5);
            steps(optimizer, resumed, 5, 10);
        }
        for (int p = 0; p < straight.size(); p++) {
            assertThat(bits(resumed).get(p)).isEqualTo(bits(straight).get(p));
        }
    }

    /// Steps far below a bf16 weight's spacing add up in the master copy.
    @Test
    void smallStepsAreNotLostInHalfPrecision() {
        Parameter weight = parameter("weight", DType.BF16, 1, 4);
        Initializer.constant(weight, 1);
        try (AdamW optimizer =
                new AdamW(kernels, List.of(weight), new AdamW.Settings(0.9, 0.95, 1e-8, 0, 0))) {
            for (int step = 0; step < 100; step++) {
                setGradient(weight, new float[] {1, 1, 1, 1});
                optimizer.step(1e-3, 1);
            }
        }
        try (Tape tape = Tape.inference(kernels)) {
            Tensor wide = tape.empty(DType.F32, 4);
            kernels.elementwise().cast(4, weight.value().span(), wide.span());
            for (float value : wide.toFloats()) {
                assertThat(value).isCloseTo(0.9f, within(0.004f));
            }
        }
    }

    @Test
    void clippingOnlyScalesDown() {
        Parameter weight = parameter("weight", DType.F32, 2, 2);
        try (AdamW optimizer = new AdamW(kernels, List.of(weight), SETTINGS)) {
            setGradient(weight, new float[] {3, 0, 4, 0});
            assertThat(optimizer.step(0, 1).gradNorm()).isEqualTo(5);
            setGradient(weight, new float[] {0.3f, 0, 0.4f, 0});
            assertThat(optimizer.step(0, 1).gradNorm()).isCloseTo(0.5, within(1e-7));
        }
    }

    @Test
    void aNormThatIsNotFiniteChangesNothing() {
        List<Parameter> parameters = parameters(DType.F32);
        List<byte[]> before = bits(parameters);
        try (AdamW optimizer = new AdamW(kernels, parameters, SETTINGS)) {
            setGradient(
                    parameters.get(1), new float[] {1, Float.NaN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
            assertThat(optimizer.step(1, 1).gradNorm()).isNaN();
            assertThat(optimizer.steps()).isZero();
        }
        for (int p = 0; p < before.size(); p++) {
            assertThat(bits(parameters).get(p)).isEqualTo(before.get(p));
        }
    }

    @Test
    void zeroGradients() {
        List<Parameter> parameters = parameters(DType.F32);
        try (AdamW optimizer = new AdamW(kernels, parameters, SETTINGS)) {
            steps(optimizer, parameters, 0, 1);
            optimizer.zeroGradients();
        }
        for (Parameter parameter : parameters) {
            assertThat(parameter.gradient().toFloats()).containsOnly(0);
        }
    }

    @Test
    void frozenParametersHaveNoState() {
        List<Parameter> parameters = parameters(DType.F32);
        parameters.getFirst().trainable(false);
        long before = device.memory().usedBytes();
        Path file = folder.resolve("optimizer.safetensors");
        try (AdamW optimizer = new AdamW(kernels, parameters, SETTINGS)) {
            assertThat(device.memory().usedBytes()).isLessThan(before + 2000);
            optimizer.save(file);
        }
        assertThat(device.memory().usedBytes()).isEqualTo(before);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            assertThat(reader.entries().keySet())
                    .containsExactly(
                            "vector.exp_avg",
                            "vector.exp_avg_sq",
                            "table.exp_avg",
                            "table.exp_avg_sq");
            assertThat(reader.metadata()).isEqualTo(Map.of("step", "0"));
        }
    }

    @Test
    void aParameterGivenTwiceIsRefused() {
        Parameter weight = parameter("weight", DType.F32, 2, 2);
        assertThatThrownBy(() -> new AdamW(kernels, List.of(weight, weight), SETTINGS).close())
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void anotherOptimizersStateIsRefusedAndNothingChanges() {
        Path file = folder.resolve("optimizer.safetensors");
        List<Parameter> parameters = parameters(DType.F32);
        try (AdamW optimizer = new AdamW(kernels, parameters, SETTINGS)) {
            steps(optimizer, parameters, 0, 1);
            optimizer.save(file);
            try (AdamW fewer = new AdamW(kernels, parameters.subList(0, 2), SETTINGS)) {
                assertThatThrownBy(() -> fewer.restore(file))
                        .isInstanceOf(InputException.class)
                        .hasMessageContaining("table.exp_avg, which isn't trained here");
                assertThat(fewer.steps()).isZero();
            }
            List<Parameter> more = new ArrayList<>(parameters);
            more.add(parameter("other", DType.F32, 2));
            try (AdamW larger = new AdamW(kernels, more, SETTINGS)) {
                assertThatThrownBy(() -> larger.restore(file))
                        .isInstanceOf(InputException.class)
                        .hasMessageContaining("has no tensor other.exp_avg");
            }
        }
        Parameter matrix = parameter("matrix", DType.F32, 11, 37);
        try (AdamW other = new AdamW(kernels, List.of(matrix), SETTINGS)) {
            assertThatThrownBy(() -> other.restore(file))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("[37, 11], expected [11, 37]");
        }
        Path weights = folder.resolve("weights.safetensors");
        LinkedHashMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put("vector.exp_avg", parameters.get(1).value());
        tensors.put("vector.exp_avg_sq", parameters.get(1).value());
        SafetensorsWriter.write(weights, Map.of(), tensors);
        try (AdamW other = new AdamW(kernels, parameters.subList(1, 2), SETTINGS)) {
            assertThatThrownBy(() -> other.restore(weights))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("has no step count");
        }
    }

    @Test
    void schedules() {
        Schedule constant = new Schedule.Constant(2, 4);
        assertThat(constant.at(0)).isEqualTo(0.5);
        assertThat(constant.at(3)).isEqualTo(2);
        assertThat(constant.at(1000)).isEqualTo(2);
        assertThat(new Schedule.Constant(2, 0).at(0)).isEqualTo(2);
        Schedule cosine = new Schedule.Cosine(2, 4, 14, 0.1);
        assertThat(cosine.at(0)).isEqualTo(0.5);
        assertThat(cosine.at(3)).isEqualTo(2);
        assertThat(cosine.at(4)).isEqualTo(2);
        assertThat(cosine.at(9)).isCloseTo(1.1, within(1e-12));
        assertThat(cosine.at(14)).isEqualTo(0.2, within(1e-12));
        assertThat(cosine.at(99)).isEqualTo(0.2, within(1e-12));
        assertThat(new Schedule.Cosine(2, 5, 5, 0.1).at(5)).isEqualTo(0.2, within(1e-12));
        for (int step = 4; step < 14; step++) {
            assertThat(cosine.at(step + 1)).isLessThan(cosine.at(step));
        }
    }
}
