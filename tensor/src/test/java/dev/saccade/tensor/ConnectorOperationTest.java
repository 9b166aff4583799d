package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Tape.Affine;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The connector as one operation beside the four that it is made of.
@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
final class ConnectorOperationTest {
    private static final float EPS = 1e-5f;
    private static final int TILES = 3;
    private static final int GRID = 4;
    private static final int WIDTH = 24;
    private static final int INNER = 40;
    private static final int OUT = 16;
    private static final int ROWS = TILES * GRID * GRID / 4;

    private final Target target;
    private final Buffers buffers;
    private final Kernels kernels;
    private final List<Parameter> parameters = new ArrayList<>();
    private final Affine norm;
    private final Affine first;
    private final Affine second;

    ConnectorOperationTest(Target target) {
        this.target = target;
        this.buffers = target.open();
        this.kernels = Kernels.of(buffers.device());
        this.norm = new Affine(parameter("norm.weight", 4 * WIDTH), parameter("norm.bias", 96));
        this.first =
                new Affine(
                        parameter("first.weight", INNER, 4 * WIDTH),
                        parameter("first.bias", INNER));
        this.second =
                new Affine(parameter("second.weight", OUT, INNER), parameter("second.bias", OUT));
    }

    @AfterEach
    void close() {
        parameters.forEach(Parameter::close);
        buffers.close();
    }

    private Parameter parameter(String name, long... dims) {
        Parameter parameter =
                new Parameter(name, ParameterGroup.CONNECTOR, kernels, target.dtype(), dims);
        Initializer.normal(parameter, 0.3, 3);
        parameter.trainable(true);
        parameters.add(parameter);
        return parameter;
    }

    private interface Formula {
        Tensor apply(Tape tape, Tensor x);
    }

    private Tensor together(Tape tape, Tensor x) {
        return tape.connector(x, GRID, norm, EPS, first, second);
    }

    private Tensor apart(Tape tape, Tensor x) {
        Tensor normed =
                tape.layerNorm(tape.pixelUnshuffle(x, GRID), norm.weight(), norm.bias(), EPS);
        return tape.linear(
                tape.linearGelu(normed, first.weight(), first.bias()),
                second.weight(),
                second.bias());
    }

    /// The output under "y", x's gradient under "x" where it is wanted, gradients of parameters
    /// under their names.
    ///
    /// @param bytes receives what the tape holds after the forward pass
    private Map<String, float[]> run(Formula formula, boolean xNeeds, long[] bytes) {
        Map<String, float[]> results = new LinkedHashMap<>();
        DType dtype = target.dtype();
        float[] values = Buffers.normal(1, TILES * (1 + GRID * GRID) * WIDTH, 1);
        long[] dims = {TILES, 1 + GRID * GRID, WIDTH};
        long before = buffers.device().memory().usedBytes();
        try (Tape tape = Tape.recording(kernels)) {
            Tensor x =
                    xNeeds ? tape.variable(dtype, values, dims) : tape.upload(dtype, values, dims);
            Tensor y = formula.apply(tape, x);
            bytes[0] = buffers.device().memory().usedBytes() - before;
            results.put("y", y.toFloats());
            if (y.requiresGrad()) {
                tape.backward(y, tape.upload(dtype, Buffers.normal(2, ROWS * OUT, 1), ROWS, OUT));
            }
            Tensor dx = tape.gradient(x);
            if (dx != null) {
                results.put("x", dx.toFloats());
            }
            for (Parameter parameter : parameters) {
                if (parameter.trainable()) {
                    results.put(parameter.name(), parameter.gradient().toFloats());
                    parameter.zeroGradient();
                }
            }
        }
        return results;
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void isTheFourOperationsInARow(boolean xNeeds) {
        Map<String, float[]> together = run(this::together, xNeeds, new long[1]);
        Map<String, float[]> apart = run(this::apart, xNeeds, new long[1]);
        assertThat(together.keySet()).isEqualTo(apart.keySet());
        together.forEach((name, values) -> {
            float[] expected = apart.getOrDefault(name, new float[0]);
            boolean behindGelu = name.equals("y") || name.startsWith("second");
            if (behindGelu || target.dtype() == DType.F32) {
                assertThat(values).as(name).isEqualTo(expected);
                return;
            }
            // A rounding of the gradient less: within a few steps of the largest element.
            float largest = 0;
            for (float value : expected) {
                largest = Math.max(largest, Math.abs(value));
            }
            for (int i = 0; i < values.length; i++) {
                assertThat(values[i])
                        .as("%s[%d]", name, i)
                        .isCloseTo(expected[i], within(largest * 8 * 0x1p-8f));
            }
        });
    }

    @Test
    void withoutRecordingTheBitsAreTheSameAndNothingElseIsKept() {
        float[] trained = run(this::together, false, new long[1]).getOrDefault("y", new float[0]);
        DType dtype = target.dtype();
        float[] values = Buffers.normal(1, TILES * (1 + GRID * GRID) * WIDTH, 1);
        try (Tape constants = Tape.inference(kernels)) {
            Tensor x = constants.upload(dtype, values, TILES, 1 + GRID * GRID, WIDTH);
            long before = buffers.device().memory().usedBytes();
            try (Tape tape = Tape.inference(kernels)) {
                Tensor y = together(tape, x);
                long kept = buffers.device().memory().usedBytes() - before;
                assertThat(kept).isLessThan(2L * ROWS * OUT * dtype.bytes() + 1024);
                assertThat(y.requiresGrad()).isFalse();
                assertThat(y.toFloats()).isEqualTo(trained);
            }
        }
    }

    /// Every combination of parts that train, and of x wanting a gradient: the bits of the whole,
    /// and less memory the more is frozen.
    @Test
    void aPartTrainsAloneWithTheBitsOfTheWholeAndKeepsWhatItNeeds() {
        long[] bytes = new long[1];
        Map<String, float[]> whole = run(this::together, true, bytes);
        long all = bytes[0];
        for (int set = 0; set < 1 << 7; set++) {
            for (int i = 0; i < 6; i++) {
                parameters.get(i).trainable((set >> i & 1) == 1);
            }
            boolean xNeeds = set >> 6 == 1;
            Map<String, float[]> part = run(this::together, xNeeds, bytes);
            String what = "parts " + Integer.toBinaryString(set);
            assertThat(part).as(what).hasSize(1 + Integer.bitCount(set));
            part.forEach((name, values) ->
                    assertThat(values).as("%s of %s", name, what).isEqualTo(whole.get(name)));
            assertThat(bytes[0]).as(what).isLessThanOrEqualTo(all);
        }
        // The last bias alone: only the output stays; its weight: the layer's input, too.
        only(second.bias());
        run(this::together, false, bytes);
        long least = bytes[0];
        only(second.weight());
        run(this::together, false, bytes);
        long element = target.dtype().bytes();
        assertThat(bytes[0] - least).isGreaterThanOrEqualTo(ROWS * INNER * element);
        only(first.weight());
        run(this::together, false, bytes);
        assertThat(bytes[0] - least).isGreaterThanOrEqualTo(ROWS * (INNER + 4 * WIDTH) * element);
    }

    private void only(Parameter trained) {
        parameters.forEach(parameter -> parameter.trainable(parameter == trained));
    }

    @Test
    void gradientsAddUp() {
        Map<String, float[]> once = run(this::together, false, new long[1]);
        Parameter bias = second.bias();
        try (Tape tape = Tape.recording(kernels)) {
            float[] values = Buffers.normal(1, TILES * (1 + GRID * GRID) * WIDTH, 1);
            Tensor x = tape.upload(target.dtype(), values, TILES, 1 + GRID * GRID, WIDTH);
            Tensor y = together(tape, x);
            Tensor twice = tape.add(y, y);
            float[] seed = Buffers.normal(2, ROWS * OUT, 1);
            tape.backward(twice, tape.upload(target.dtype(), seed, ROWS, OUT));
        }
        float[] sums = bias.gradient().toFloats();
        float[] single = once.getOrDefault(bias.name(), new float[0]);
        for (int i = 0; i < sums.length; i++) {
            assertThat(sums[i]).isEqualTo(2 * single[i]);
        }
    }

    @Test
    void wrongShapesAreRefused() {
        try (Tape tape = Tape.recording(kernels)) {
            DType dtype = target.dtype();
            Tensor x = tape.empty(dtype, TILES, 1 + GRID * GRID, WIDTH);
            Tensor narrow = tape.empty(dtype, TILES, 1 + GRID * GRID, WIDTH - 1);
            List<Runnable> wrong =
                    List.of(
                            () -> tape.connector(x, 3, norm, EPS, first, second),
                            () -> tape.connector(x, 2, norm, EPS, first, second),
                            () -> together(tape, narrow),
                            () -> tape.connector(x, GRID, second, EPS, first, second),
                            () -> tape.connector(x, GRID, norm, EPS, second, second),
                            () -> tape.connector(x, GRID, norm, EPS, first, first),
                            () ->
                                    tape.connector(
                                            x,
                                            GRID,
                                            norm,
                                            EPS,
                                            new Affine(first.weight(), norm.bias()),
                                            second));
            for (int i = 0; i < wrong.size(); i++) {
                assertThatThrownBy(wrong.get(i)::run)
                        .as("case %d", i)
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageStartingWith("connector of ");
            }
        }
    }
}
