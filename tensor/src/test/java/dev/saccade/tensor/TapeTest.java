package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

@Tag("device")
@ParameterizedClass
@EnumSource(
        value = Target.class,
        names = {"CPU_F32", "CUDA_F32"})
final class TapeTest {
    private final Target target;
    private final Buffers buffers;
    private final Device device;
    private final Kernels kernels;
    private final List<Parameter> parameters = new ArrayList<>();

    TapeTest(Target target) {
        this.target = target;
        this.buffers = target.open();
        this.device = buffers.device();
        this.kernels = Kernels.of(device);
    }

    @AfterEach
    void close() {
        parameters.forEach(Parameter::close);
        buffers.close();
    }

    private Parameter parameter(String name, long... dims) {
        Parameter parameter =
                new Parameter(name, ParameterGroup.LANGUAGE, kernels, DType.F32, dims);
        Initializer.normal(parameter, 0.5, 3);
        parameter.trainable(true);
        parameters.add(parameter);
        return parameter;
    }

    private static float[] random(int count, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static Tensor present(@Nullable Tensor tensor) {
        if (tensor == null) {
            throw new AssertionError("no gradient");
        }
        return tensor;
    }

    @Test
    void frozenParametersGetNoGradientAndBelowThemNothingRuns() {
        Parameter lower = parameter("lower", 4, 3);
        Parameter upper = parameter("upper", 2, 4);
        Parameter bias = parameter("bias", 2);
        lower.trainable(false);
        bias.trainable(false);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor x = tape.upload(random(15, 1), 5, 3);
            Tensor hidden = tape.linear(x, lower, null);
            assertThat(hidden.requiresGrad()).isFalse();
            Tensor y = tape.linear(hidden, upper, bias);
            assertThat(y.requiresGrad()).isTrue();
            tape.backward(y, tape.upload(random(10, 2), 5, 2));
            assertThat(tape.gradient(hidden)).isNull();
        }
        assertThat(upper.hasGradient()).isTrue();
        assertThat(lower.hasGradient()).isFalse();
        assertThat(bias.hasGradient()).isFalse();
        assertThatThrownBy(lower::gradient).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void gradientsPassThroughFrozenParameters() {
        Parameter lower = parameter("lower", 4, 3);
        Parameter norm = parameter("norm", 4);
        Parameter normBias = parameter("norm bias", 4);
        Parameter scale = parameter("scale", 4);
        Parameter frozen = parameter("frozen", 4, 4);
        Parameter head = parameter("head", 6, 4);
        List<Parameter> still = List.of(norm, normBias, scale, frozen, head);
        float[][] gradients = new float[2][];
        for (int run = 0; run < 2; run++) {
            boolean all = run == 0;
            still.forEach(p -> p.trainable(all));
            lower.zeroGradient();
            try (Tape tape = Tape.recording(kernels)) {
                Tensor x = tape.linear(tape.upload(random(15, 1), 5, 3), lower, null);
                Tensor normed = tape.layerNorm(x, norm, normBias, 1e-6f);
                Tensor inner = tape.swiGlu(tape.rmsNorm(normed, norm, 1e-6f), frozen, frozen);
                Tensor last =
                        tape.linearResidual(
                                tape.linearGelu(inner, frozen, normBias), frozen, null, scale, x);
                Tape.LogProbs result =
                        tape.logProbs(
                                last, head, tape.upload(new int[] {0, 1, 2, 3, 5}, 5), 1, null);
                tape.backward(result.logProb(), tape.upload(random(5, 2), 5));
            }
            still.forEach(p -> assertThat(p.hasGradient()).as(p.name()).isEqualTo(all));
            gradients[run] = lower.gradient().toFloats();
        }
        assertThat(gradients[1]).isEqualTo(gradients[0]);
    }

    @Test
    void onlyTheScaleOrOnlyTheResidualTrains() {
        Parameter weight = parameter("weight", 4, 4);
        Parameter scale = parameter("scale", 4);
        float[] x = random(12, 1);
        float[] residual = random(12, 2);
        float[] seed = random(12, 3);
        float[] expected;
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y =
                    tape.linearResidual(
                            tape.variable(x, 3, 4),
                            weight,
                            null,
                            scale,
                            tape.variable(residual, 3, 4));
            tape.backward(y, tape.upload(seed, 3, 4));
            expected = scale.gradient().toFloats();
        }
        weight.trainable(false);
        scale.zeroGradient();
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y =
                    tape.linearResidual(
                            tape.upload(x, 3, 4), weight, null, scale, tape.upload(residual, 3, 4));
            tape.backward(y, tape.upload(seed, 3, 4));
        }
        assertThat(scale.gradient().toFloats()).isEqualTo(expected);
        scale.trainable(false);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor through = tape.variable(residual, 3, 4);
            Tensor y = tape.linearResidual(tape.upload(x, 3, 4), weight, null, scale, through);
            tape.backward(y, tape.upload(seed, 3, 4));
            assertThat(present(tape.gradient(through)).toFloats()).isEqualTo(seed);
        }
        assertThat(scale.hasGradient()).isFalse();
        assertThat(weight.hasGradient()).isFalse();
    }

    /// A sum hands its own gradient on to both operands; what is then added to the gradient of one
    /// may not show in that of the other.
    @Test
    void sharedGradientsAreNotCorrupted() {
        Parameter weight = parameter("weight", 4, 3);
        float[] seed = random(8, 4);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor a = tape.variable(random(6, 1), 2, 3);
            Tensor b = tape.variable(random(6, 2), 2, 3);
            Tensor alone = tape.variable(random(6, 3), 2, 3);
            Tensor sum = tape.add(a, tape.add(a, b));
            Tensor y = tape.add(tape.linear(sum, weight, null), tape.linear(alone, weight, null));
            Tensor seedTensor = tape.upload(seed, 2, 4);
            tape.backward(y, seedTensor);
            float[] once = present(tape.gradient(alone)).toFloats();
            float[] twice = new float[6];
            for (int i = 0; i < 6; i++) {
                twice[i] = 2 * once[i];
            }
            assertThat(present(tape.gradient(b)).toFloats()).isEqualTo(once);
            assertThat(present(tape.gradient(a)).toFloats()).isEqualTo(twice);
            assertThat(seedTensor.toFloats()).isEqualTo(seed);
        }
    }

    /// Operations that turn their output's gradient into their input's in place, below a sum whose
    /// other operand still holds that gradient.
    @Test
    void operationsInPlaceLeaveSharedGradientsAlone() {
        Parameter weight = parameter("weight", 4, 4);
        Parameter bias = parameter("bias", 4);
        try (Tape tape = Tape.recording(kernels);
                RopeTable table = new RopeTable(kernels, 3, 4, 10)) {
            Tensor x = tape.variable(random(8, 1), 2, 4);
            Tensor beside = tape.variable(random(8, 2), 2, 4);
            Tensor alone = tape.variable(random(8, 3), 2, 4);
            Tensor none = tape.upload(new int[] {1}, 1);
            Tensor sum = beside;
            sum = tape.add(sum, tape.rope(x, table, tape.upload(new int[] {1, 2}, 2), 4));
            sum = tape.add(sum, tape.linearGelu(x, weight, bias));
            sum = tape.add(sum, tape.replaceRows(x, none, x, none));
            Tensor y = tape.add(tape.linear(sum, weight, null), tape.linear(alone, weight, null));
            tape.backward(y, tape.upload(random(8, 4), 2, 4));
            assertThat(present(tape.gradient(beside)).toFloats())
                    .isEqualTo(present(tape.gradient(alone)).toFloats());
        }
    }

    @Test
    void aSeedIsNotWrittenByOperationsThatWorkInPlace() {
        Parameter weight = parameter("weight", 4, 3);
        Parameter bias = parameter("bias", 4);
        float[] seed = random(8, 4);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y = tape.linearGelu(tape.variable(random(6, 1), 2, 3), weight, bias);
            Tensor seedTensor = tape.upload(seed, 2, 4);
            tape.backward(y, seedTensor);
            assertThat(seedTensor.toFloats()).isEqualTo(seed);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7})
    void chunksOfLogitsDoNotShow(int rowsPerChunk) {
        int rows = 7;
        int vocab = 50;
        Parameter head = parameter("head", vocab, 20);
        int[] targets = {1, 2, 3, 49, 0, 7, 7};
        List<float[]> whole = null;
        for (long bytes : new long[] {1L << 26, 4L * vocab * rowsPerChunk}) {
            head.zeroGradient();
            try (Tape tape = Tape.recording(kernels, bytes)) {
                Tensor hidden = tape.variable(random(rows * 20, 1), rows, 20);
                Tape.LogProbs result =
                        tape.logProbs(hidden, head, tape.upload(targets, rows), 0.9f, null);
                tape.backward(
                        Map.of(
                                result.logProb(), tape.upload(random(rows, 2), rows),
                                result.entropy(), tape.upload(random(rows, 3), rows)));
                List<float[]> results =
                        List.of(
                                result.logProb().toFloats(),
                                result.entropy().toFloats(),
                                present(tape.gradient(hidden)).toFloats(),
                                head.gradient().toFloats());
                if (whole == null) {
                    whole = results;
                } else {
                    for (int i = 0; i < results.size(); i++) {
                        assertThat(results.get(i)).isEqualTo(whole.get(i));
                    }
                }
            }
        }
    }

    @Test
    void logitsAreWhatLogProbsUses() {
        Parameter head = parameter("head", 9, 5);
        try (Tape tape = Tape.inference(kernels)) {
            Tensor hidden = tape.upload(random(15, 1), 3, 5);
            Tensor targets = tape.upload(new int[] {8, 0, 4}, 3);
            Tensor logits = tape.logits(hidden, head);
            assertThat(logits.shape()).isEqualTo(Shape.of(3, 9));
            Tensor logProb = tape.empty(DType.F32, 3);
            Tensor entropy = tape.empty(DType.F32, 3);
            kernels.entropy()
                    .forward(
                            3,
                            9,
                            1,
                            logits.span(),
                            targets.span(),
                            null,
                            logProb.span(),
                            entropy.span(),
                            null);
            Tape.LogProbs result = tape.logProbs(hidden, head, targets, 1, null);
            assertThat(result.logProb().toFloats()).isEqualTo(logProb.toFloats());
            assertThat(result.entropy().toFloats()).isEqualTo(entropy.toFloats());
        }
    }

    @Test
    void ownOperations() {
        float[] seed = random(6, 2);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor x = tape.variable(random(6, 1), 6);
            Tensor y = tape.empty(DType.F32, 6);
            kernels.elementwise().scale(6, 3, x.span(), y.span());
            tape.record(
                    List.of(x),
                    List.of(y),
                    () -> {
                        Tensor dx = tape.empty(DType.F32, 6);
                        kernels.elementwise()
                                .scale(6, 3, present(tape.gradient(y)).span(), dx.span());
                        tape.accumulate(x, dx);
                    });
            assertThat(y.requiresGrad()).isTrue();
            tape.backward(y, tape.upload(seed, 6));
            float[] expected = new float[6];
            for (int i = 0; i < 6; i++) {
                expected[i] = 3 * seed[i];
            }
            assertThat(present(tape.gradient(x)).toFloats()).isEqualTo(expected);
            assertThat(tape.gradient(y)).as("freed after its backward").isNull();
        }
    }

    @Test
    void ownOperationsOnNothingThatTrainsAreNotRecorded() {
        AtomicInteger runs = new AtomicInteger();
        Parameter weight = parameter("weight", 1, 3);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor x = tape.upload(random(3, 1), 1, 3);
            Tensor y = tape.upload(random(3, 2), 1, 3);
            tape.record(List.of(x), List.of(y), runs::incrementAndGet);
            assertThat(y.requiresGrad()).isFalse();
            Tensor z = tape.linear(y, weight, null);
            tape.backward(z, tape.upload(new float[] {1}, 1, 1));
        }
        assertThat(runs).hasValue(0);
    }

    @Test
    void ownOperationsOnParameters() {
        Parameter offset = parameter("offset", 3);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y = tape.empty(DType.F32, 3);
            kernels.elementwise().scale(3, 2, offset.value().span(), y.span());
            tape.record(
                    List.of(),
                    List.of(offset),
                    List.of(y),
                    () ->
                            kernels.elementwise()
                                    .accumulate(
                                            3,
                                            present(tape.gradient(y)).span(),
                                            offset.gradient().span()));
            tape.backward(y, tape.upload(new float[] {1, 2, 3}, 3));
        }
        assertThat(offset.gradient().toFloats()).containsExactly(1, 2, 3);
    }

    @Test
    void inferenceRecordsNothing() {
        Parameter weight = parameter("weight", 2, 3);
        try (Tape tape = Tape.inference(kernels)) {
            Tensor y = tape.linear(tape.variable(random(3, 1), 1, 3), weight, null);
            assertThat(y.requiresGrad()).isFalse();
            Tensor seed = tape.zeros(1, 2);
            assertThatThrownBy(() -> tape.backward(y, seed))
                    .isInstanceOf(IllegalStateException.class);
        }
        assertThat(weight.hasGradient()).isFalse();
    }

    @Test
    void aTapeGoesBackOnce() {
        Parameter weight = parameter("weight", 2, 3);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y = tape.linear(tape.upload(random(3, 1), 1, 3), weight, null);
            Tensor seed = tape.zeros(1, 2);
            tape.backward(y, seed);
            assertThatThrownBy(() -> tape.backward(y, seed))
                    .isInstanceOf(IllegalStateException.class);
        }
    }

    @Test
    void twoSeedsForOneMemoryAreRefused() {
        Parameter weight = parameter("weight", 2, 3);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor y = tape.linear(tape.upload(random(3, 1), 1, 3), weight, null);
            Map<Tensor, Tensor> seeds = Map.of(y, tape.zeros(1, 2), y.view(2), tape.zeros(2));
            assertThatThrownBy(() -> tape.backward(seeds))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void tapesAddUpInAParameter() {
        Parameter weight = parameter("weight", 4, 3);
        Parameter bias = parameter("bias", 4);
        float[] x = random(18, 1);
        float[] seed = random(24, 2);
        List<float[]> whole = new ArrayList<>();
        for (int parts : new int[] {1, 2}) {
            weight.zeroGradient();
            bias.zeroGradient();
            int rows = 6 / parts;
            for (int part = 0; part < parts; part++) {
                try (Tape tape = Tape.recording(kernels)) {
                    float[] own = Arrays.copyOfRange(x, part * rows * 3, (part + 1) * rows * 3);
                    float[] dy = Arrays.copyOfRange(seed, part * rows * 4, (part + 1) * rows * 4);
                    Tensor y = tape.linear(tape.upload(own, rows, 3), weight, bias);
                    tape.backward(y, tape.upload(dy, rows, 4));
                }
            }
            whole.add(weight.gradient().toFloats());
            whole.add(bias.gradient().toFloats());
        }
        assertThat(whole.get(2)).isEqualTo(whole.get(0));
        if (target.isCuda()) {
            // A bias's gradient is summed over blocks of rows there, each call's by itself.
            for (int i = 0; i < 4; i++) {
                assertThat(whole.get(3)[i]).isCloseTo(whole.get(1)[i], within(1e-6f));
            }
        } else {
            assertThat(whole.get(3)).isEqualTo(whole.get(1));
        }
    }

    @Test
    void closingReturnsAllMemoryAndFreezingTheGradients() {
        Parameter table = parameter("table", 30, 64);
        Parameter weight = parameter("weight", 64, 64);
        Parameter bias = parameter("bias", 64);
        int[] ids = new SplittableRandom(1).ints(40, 0, 30).toArray();
        // The first rounds are for what kernels keep: the workers' scratch memory, and on CUDA the
        // lists
        // of the last sequences.
        int settled = target.isCuda() ? 10 : 0;
        long start = 0;
        for (int round = 0; round < settled + 3; round++) {
            try (Tape tape = Tape.recording(kernels)) {
                Tensor x = tape.embedding(table, tape.upload(ids, 40));
                for (int layer = 0; layer < 3; layer++) {
                    Tensor mixed =
                            tape.attention(
                                    tape.linear(x, weight, bias),
                                    tape.linear(x, weight, null),
                                    x,
                                    new Attention.Shape(4, 4, 16, true, 0.25f),
                                    Attention.Sequences.packed(new int[] {0, 11, 40}));
                    x = tape.linearResidual(mixed, weight, bias, bias, x);
                }
                Tape.LogProbs result = tape.logProbs(x, table, tape.upload(ids, 40), 1, null);
                tape.backward(result.entropy(), tape.upload(random(40, 2), 40));
            }
            parameters.forEach(parameter -> parameter.trainable(false));
            parameters.forEach(parameter -> parameter.trainable(true));
            if (round <= settled) {
                start = device.memory().usedBytes();
            }
            assertThat(device.memory().usedBytes()).isEqualTo(start);
        }
    }

    @Test
    void closingAfterAFailedBackwardReturnsAllMemory() {
        Parameter weight = parameter("weight", 4, 4);
        weight.gradient();
        long start = device.memory().usedBytes();
        try (Tape tape = Tape.recording(kernels)) {
            Tensor x = tape.variable(random(8, 1), 2, 4);
            Tensor y = tape.empty(DType.F32, 2, 4);
            tape.record(
                    List.of(x),
                    List.of(y),
                    () -> {
                        tape.zeros(100, 100);
                        throw new IllegalStateException("on purpose");
                    });
            Tensor z = tape.linear(y, weight, null);
            Tensor seed = tape.zeros(2, 4);
            assertThatThrownBy(() -> tape.backward(z, seed)).hasMessage("on purpose");
        }
        assertThat(device.memory().usedBytes()).isEqualTo(start);
    }

    /// Gradients of intermediate results are freed on the way: a deep stack's backward pass needs
    /// little more than its forward pass left behind.
    @Test
    void theBackwardPassDoesNotGrowWithDepth() {
        long activation = 512 * 64 * 4L;
        try (Buffers alone = target.openAlone();
                Parameter weight =
                        new Parameter(
                                "weight",
                                ParameterGroup.LANGUAGE,
                                Kernels.of(alone.device()),
                                DType.F32,
                                64,
                                64);
                Tape tape = Tape.recording(Kernels.of(alone.device()))) {
            Initializer.normal(weight, 0.5, 3);
            weight.trainable(true);
            weight.gradient();
            Tensor x = tape.variable(random(512 * 64, 1), 512, 64);
            for (int layer = 0; layer < 30; layer++) {
                x = tape.linearResidual(x, weight, null, null, x);
            }
            Tensor seed = tape.upload(random(512 * 64, 2), 512, 64);
            long forward = alone.device().memory().usedBytes();
            tape.backward(x, seed);
            assertThat(alone.device().memory().peakBytes()).isLessThan(forward + 4 * activation);
            assertThat(device.memory().usedBytes()).isLessThan(forward + 3 * activation);
        }
    }

    @Test
    void aClosedTapeIsRefused() {
        Tape tape = Tape.recording(kernels);
        tape.close();
        tape.close();
        assertThatThrownBy(() -> tape.zeros(3)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void noRowsAtAll() {
        Parameter weight = parameter("weight", 4, 3);
        Parameter norm = parameter("norm", 4);
        try (Tape tape = Tape.recording(kernels)) {
            Tensor none = tape.upload(new int[0], 0);
            Tensor x = tape.linear(tape.upload(new float[0], 0, 3), weight, norm);
            Tensor y = tape.takeRows(tape.rmsNorm(x, norm, 1e-6f), none);
            Tensor kept = tape.variable(random(8, 1), 2, 4);
            Tensor z = tape.replaceRows(kept, none, y, none);
            float[] seed = random(8, 2);
            tape.backward(z, tape.upload(seed, 2, 4));
            assertThat(present(tape.gradient(kept)).toFloats()).isEqualTo(seed);
            assertThat(weight.gradient().toFloats()).containsOnly(0);
            Parameter head = parameter("head", 5, 4);
            assertThat(tape.logProbs(y, head, none, 1, null).logProb().toFloats()).isEmpty();
        }
    }

    @Test
    void wrongShapesAreRefused() {
        Parameter weight = parameter("weight", 4, 3);
        Parameter vector = parameter("vector", 3);
        Parameter table = parameter("table", 5, 3);
        try (Tape tape = Tape.recording(kernels);
                RopeTable rope = new RopeTable(kernels, 4, 2, 10)) {
            Tensor x = tape.upload(random(6, 1), 2, 3);
            Tensor wide = tape.upload(random(8, 1), 2, 4);
            Tensor ids = tape.upload(new int[] {0, 1, 2}, 3);
            Tensor pixels = tape.zeros(1, 3, 4, 4);
            Attention.Shape heads = new Attention.Shape(1, 1, 3, true, 1);
            List<Runnable> wrong =
                    List.of(
                            () -> tape.linear(wide, weight, null),
                            () -> tape.linear(x, vector, null),
                            () -> tape.linear(x, weight, vector),
                            () -> tape.linearGelu(x, weight, vector),
                            () -> tape.linearResidual(x, weight, null, null, x),
                            () -> tape.linearResidual(x, weight, null, vector, wide),
                            () -> tape.swiGlu(x, weight, table),
                            () -> tape.layerNorm(wide, vector, vector, 1),
                            () -> tape.rmsNorm(wide, vector, 1),
                            () -> tape.rope(wide, rope, ids, 2),
                            () -> tape.rope(wide, rope, ids.slice(0, 2), 4),
                            () ->
                                    tape.attention(
                                            x,
                                            x,
                                            wide,
                                            heads,
                                            Attention.Sequences.packed(new int[] {0, 2})),
                            () ->
                                    tape.attention(
                                            x,
                                            x,
                                            x,
                                            heads,
                                            Attention.Sequences.packed(new int[] {0, 3})),
                            () -> tape.embedding(vector, ids),
                            () -> tape.embedding(table, x),
                            () -> tape.replaceRows(x, ids, wide, ids),
                            () -> tape.patchEmbedding(pixels, weight, null, vector, vector),
                            () -> tape.pixelUnshuffle(x, 2),
                            () -> tape.add(x, wide),
                            () -> tape.logProbs(x, weight, ids, 1, null),
                            () -> tape.logProbs(x, weight, ids.slice(0, 2), 0, null),
                            () -> tape.logits(wide, weight),
                            () -> tape.upload(new float[3], 2, 2),
                            () -> x.view(5));
            for (int i = 0; i < wrong.size(); i++) {
                assertThatThrownBy(wrong.get(i)::run)
                        .as("case %d", i)
                        .isInstanceOf(IllegalArgumentException.class);
            }
            assertThatThrownBy(() -> x.slice(1, 2)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> tape.linear(wide, weight, null))
                    .hasMessage("linear of F32 [2, 4] and weight [4, 3]");
            Tensor variable = tape.variable(random(6, 1), 2, 3);
            assertThatThrownBy(() -> tape.accumulate(variable, wide))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(ids::toFloats).isInstanceOf(IllegalStateException.class);
        }
    }

    @Test
    void shapes() {
        Shape shape = Shape.of(2, 3, 4);
        assertThat(shape).isEqualTo(Shape.of(2, 3, 4)).hasToString("[2, 3, 4]");
        assertThat(shape).isNotEqualTo(Shape.of(2, 12)).hasSameHashCodeAs(Shape.of(2, 3, 4));
        assertThat(shape.rank()).isEqualTo(3);
        assertThat(shape.rows()).isEqualTo(6);
        assertThat(shape.width()).isEqualTo(4);
        assertThat(shape.elements()).isEqualTo(24);
        assertThat(shape.dims()).containsExactly(2, 3, 4);
        assertThat(Shape.of().elements()).isEqualTo(1);
        assertThat(Shape.of(7).rows()).isEqualTo(1);
        assertThatThrownBy(() -> Shape.of(2, -1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> Shape.of(1L << 40, 1L << 40))
                .isInstanceOf(ArithmeticException.class);
    }

    @Test
    void uploadsOfEveryType() {
        try (Tape tape = Tape.inference(kernels)) {
            assertThat(tape.upload(new int[] {1, 2}, 2).toInts()).containsExactly(1, 2);
            assertThat(tape.upload(new long[] {1, 2}, 2).dtype()).isEqualTo(DType.I64);
            assertThat(tape.upload(new byte[] {1, 2}, 2, 1).dtype()).isEqualTo(DType.U8);
            assertThat(tape.zeros(2, 2).toFloats()).containsExactly(0, 0, 0, 0);
            Tensor x = tape.upload(new float[] {1, 2, 3, 4, 5, 6}, 3, 2);
            assertThat(x.slice(1, 2).toFloats()).containsExactly(3, 4, 5, 6);
            assertThat(x.slice(1, 2).view(4).slice(3, 1).toFloats()).containsExactly(6);
            assertThat(x).hasToString("F32 [3, 2]");
            assertThat(x.device()).isSameAs(device);
        }
    }
}
