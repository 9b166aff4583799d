package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The patch embedding in InternViT's proportions, whose rows of 588 elements are padded in bf16.
@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
final class PatchEmbeddingTest {
    private static final int TILES = 2;
    private static final int CHANNELS = 3;
    private static final int PATCH = 14;
    private static final int ELEMENTS = CHANNELS * PATCH * PATCH;
    private static final int HEIGHT = 6 * PATCH;
    private static final int WIDTH = 8 * PATCH;
    private static final int TOKENS = 1 + 48;
    private static final int OUT = 64;

    private final Target target;
    private final Buffers buffers;
    private final Kernels kernels;
    private final List<Parameter> parameters = new ArrayList<>();
    private final Parameter weight;
    private final Parameter bias;
    private final Parameter cls;
    private final Parameter positions;

    PatchEmbeddingTest(Target target) {
        this.target = target;
        this.buffers = target.open();
        this.kernels = Kernels.of(buffers.device());
        this.weight = parameter("weight", OUT, CHANNELS, PATCH, PATCH);
        this.bias = parameter("bias", OUT);
        this.cls = parameter("cls", 1, 1, OUT);
        this.positions = parameter("positions", 1, TOKENS, OUT);
    }

    @AfterEach
    void close() {
        parameters.forEach(Parameter::close);
        buffers.close();
    }

    private Parameter parameter(String name, long... dims) {
        Parameter parameter =
                new Parameter(name, ParameterGroup.VISION, kernels, target.dtype(), dims);
        Initializer.normal(parameter, 0.3, 3);
        parameters.add(parameter);
        return parameter;
    }

    /// The output, and the gradients of what trains after two passes: the second goes on with the
    /// first one's sums.
    private List<float[]> run(int pitch) {
        List<float[]> results = new ArrayList<>();
        parameters.forEach(Parameter::zeroGradient);
        for (int pass = 0; pass < 2; pass++) {
            try (Tape tape = Tape.recording(kernels)) {
                float[] pixels = Buffers.normal(10 + pass, TILES * CHANNELS * HEIGHT * WIDTH, 1);
                Tensor y =
                        VisionOperations.patchEmbedding(
                                tape,
                                tape.upload(pixels, TILES, CHANNELS, HEIGHT, WIDTH),
                                weight,
                                bias,
                                cls,
                                positions,
                                pitch);
                results.add(y.toFloats());
                float[] upstream = Buffers.normal(20 + pass, TILES * TOKENS * OUT, 1);
                tape.backward(y, tape.upload(target.dtype(), upstream, TILES, TOKENS, OUT));
            }
        }
        for (Parameter parameter : parameters) {
            if (parameter.trainable()) {
                results.add(parameter.gradient().toFloats());
            }
        }
        return results;
    }

    @ParameterizedTest
    @ValueSource(ints = {592, 600, 640})
    void paddingDoesNotShowInAnyBit(int pitch) {
        parameters.forEach(parameter -> parameter.trainable(true));
        requireSame(run(pitch), run(ELEMENTS));
    }

    @Test
    void aFrozenWeightLetsTheOthersTrain() {
        bias.trainable(true);
        positions.trainable(true);
        requireSame(run(592), run(ELEMENTS));
        assertThat(weight.hasGradient()).isFalse();
    }

    private static void requireSame(List<float[]> actual, List<float[]> expected) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(actual.get(i)).as("result %d", i).isEqualTo(expected.get(i));
        }
    }

    @Test
    void rowsArePaddedWhereTheProductWantsIt() {
        assertThat(VisionOperations.pitch(DType.BF16, 588)).isEqualTo(592);
        assertThat(VisionOperations.pitch(DType.BF16, 768)).isEqualTo(768);
        assertThat(VisionOperations.pitch(DType.F32, 588)).isEqualTo(588);
    }
}
