package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.attention.PrefixedAttention;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Each operation's result and gradients against float64, on every device.
@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
final class OperationGradientTest {
    private static final double[] NONE = {};
    private static final double EPS = 1e-6;

    private final Target target;

    OperationGradientTest(Target target) {
        this.target = target;
    }

    private static double[] get(Map<String, double[]> values, String name) {
        return values.getOrDefault(name, NONE);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void linear(boolean biased) {
        try (GradientCheck check = new GradientCheck(target, 1)) {
            check.variable("x", 2, 3, 5);
            Parameter weight = check.parameter("weight", 7, 5);
            Parameter bias = biased ? check.parameter("bias", 7) : null;
            check.check(
                    (tape, x) -> {
                        Tensor y = tape.linear(x.apply("x"), weight, bias);
                        assertThat(y.shape()).isEqualTo(Shape.of(2, 3, 7));
                        return y;
                    },
                    v -> Float64.linear(get(v, "x"), get(v, "weight"), get(v, "bias"), 6));
        }
    }

    @Test
    void linearGelu() {
        try (GradientCheck check = new GradientCheck(target, 2)) {
            check.variable("x", 5, 6);
            Parameter weight = check.parameter("weight", 9, 6);
            Parameter bias = check.parameter("bias", 9);
            check.check(
                    (tape, x) -> tape.linearGelu(x.apply("x"), weight, bias),
                    v ->
                            Float64.gelu(
                                    Float64.linear(
                                            get(v, "x"), get(v, "weight"), get(v, "bias"), 5)));
        }
    }

    @ParameterizedTest
    @CsvSource({"true,true", "true,false", "false,true", "false,false"})
    void linearResidual(boolean biased, boolean scaled) {
        try (GradientCheck check = new GradientCheck(target, 3)) {
            check.variable("x", 5, 6);
            check.variable("residual", 5, 4);
            Parameter weight = check.parameter("weight", 4, 6);
            Parameter bias = biased ? check.parameter("bias", 4) : null;
            Parameter scale = scaled ? check.parameter("scale", 4) : null;
            check.check(
                    (tape, x) ->
                            tape.linearResidual(
                                    x.apply("x"), weight, bias, scale, x.apply("residual")),
                    v -> {
                        double[] y =
                                Float64.linear(get(v, "x"), get(v, "weight"), get(v, "bias"), 5);
                        for (int i = 0; i < y.length; i++) {
                            y[i] *= scaled ? get(v, "scale")[i % 4] : 1;
                        }
                        return Float64.add(y, get(v, "residual"));
                    });
        }
    }

    @Test
    void swiGlu() {
        try (GradientCheck check = new GradientCheck(target, 4)) {
            check.variable("x", 5, 6);
            Parameter gate = check.parameter("gate", 9, 6);
            Parameter up = check.parameter("up", 9, 6);
            check.check(
                    (tape, x) -> tape.swiGlu(x.apply("x"), gate, up),
                    v ->
                            Float64.swiGlu(
                                    Float64.linear(get(v, "x"), get(v, "gate"), NONE, 5),
                                    Float64.linear(get(v, "x"), get(v, "up"), NONE, 5)));
        }
    }

    @Test
    void layerNorm() {
        try (GradientCheck check = new GradientCheck(target, 5)) {
            check.variable("x", 2, 3, 19);
            Parameter weight = check.parameter("weight", 19);
            Parameter bias = check.parameter("bias", 19);
            check.check(
                    (tape, x) -> tape.layerNorm(x.apply("x"), weight, bias, (float) EPS),
                    v -> Float64.layerNorm(get(v, "x"), get(v, "weight"), get(v, "bias"), EPS));
        }
    }

    @Test
    void rmsNorm() {
        try (GradientCheck check = new GradientCheck(target, 6)) {
            check.variable("x", 2, 3, 19);
            Parameter weight = check.parameter("weight", 19);
            check.check(
                    (tape, x) -> tape.rmsNorm(x.apply("x"), weight, (float) EPS),
                    v -> Float64.rmsNorm(get(v, "x"), get(v, "weight"), EPS));
        }
    }

    @Test
    void rmsNormBoth() {
        try (GradientCheck check = new GradientCheck(target, 6)) {
            check.variable("x", 2, 3, 19);
            check.variable("y", 2, 3, 19);
            Parameter first = check.parameter("first", 19);
            Parameter second = check.parameter("second", 19);
            check.check(
                    (tape, x) -> {
                        Tape.Both both =
                                tape.rmsNormBoth(
                                        x.apply("x"), first, x.apply("y"), second, (float) EPS);
                        return tape.add(both.first(), both.second());
                    },
                    v ->
                            Float64.add(
                                    Float64.rmsNorm(get(v, "x"), get(v, "first"), EPS),
                                    Float64.rmsNorm(get(v, "y"), get(v, "second"), EPS)));
        }
    }

    @Test
    void rope() {
        int[] positions = {0, 1, 2, 0, 7};
        try (GradientCheck check = new GradientCheck(target, 7);
                RopeTable table = new RopeTable(check.kernels, 8, 6, 10_000)) {
            check.variable("x", 5, 12);
            check.check(
                    (tape, x) -> tape.rope(x.apply("x"), table, tape.upload(positions, 5), 6),
                    v -> Float64.rope(get(v, "x"), positions, 6, 10_000));
        }
    }

    @Test
    void ropeInPlace() {
        int[] positions = {0, 1, 2, 0, 7};
        try (GradientCheck check = new GradientCheck(target, 7);
                RopeTable table = new RopeTable(check.kernels, 8, 6, 10_000)) {
            check.variable("x", 5, 4);
            Parameter weight = check.parameter("weight", 12, 4);
            check.check(
                    (tape, x) -> {
                        Tensor y = tape.linear(x.apply("x"), weight, null);
                        Tensor rotated = tape.ropeInPlace(y, table, tape.upload(positions, 5), 6);
                        assertThat(rotated.span()).isEqualTo(y.span());
                        return rotated;
                    },
                    v ->
                            Float64.rope(
                                    Float64.linear(get(v, "x"), get(v, "weight"), NONE, 5),
                                    positions,
                                    6,
                                    10_000));
        }
    }

    @ParameterizedTest
    @CsvSource({"true,4,2", "false,2,2", "true,3,1"})
    void attention(boolean causal, int heads, int kvHeads) {
        int[] cumulative = {0, 3, 3, 8, 9};
        try (GradientCheck check = new GradientCheck(target, 8)) {
            check.allowFor(3); // scores, probabilities and the result are rounded
            check.variable("q", 9, heads * 4L);
            check.variable("k", 9, kvHeads * 4L);
            check.variable("v", 9, kvHeads * 4L);
            check.check(
                    (tape, x) ->
                            tape.attention(
                                    x.apply("q"),
                                    x.apply("k"),
                                    x.apply("v"),
                                    new Attention.Shape(heads, kvHeads, 4, causal, 0.5f),
                                    Attention.Sequences.packed(cumulative)),
                    v ->
                            Float64.attention(
                                    get(v, "q"),
                                    get(v, "k"),
                                    get(v, "v"),
                                    cumulative,
                                    heads,
                                    kvHeads,
                                    4,
                                    causal,
                                    0.5));
        }
    }

    @Test
    void attentionWithRowsOutsideEverySequence() {
        int[] cumulative = {2, 5};
        try (GradientCheck check = new GradientCheck(target, 9)) {
            check.allowFor(3); // scores, probabilities and the result are rounded
            check.variable("q", 7, 4);
            check.variable("k", 7, 4);
            check.variable("v", 7, 4);
            check.check(
                    (tape, x) ->
                            tape.attention(
                                    x.apply("q"),
                                    x.apply("k"),
                                    x.apply("v"),
                                    new Attention.Shape(1, 1, 4, true, 0.5f),
                                    Attention.Sequences.packed(cumulative)),
                    v ->
                            Float64.attention(
                                    get(v, "q"),
                                    get(v, "k"),
                                    get(v, "v"),
                                    cumulative,
                                    1,
                                    1,
                                    4,
                                    true,
                                    0.5));
        }
    }

    /// A prompt of three tokens and two answers to it.
    @ParameterizedTest
    @CsvSource({"true,4,2", "false,2,2"})
    void attentionWithAPrefix(boolean causal, int heads, int kvHeads) {
        int[] start = {0, 3, 5};
        int[] length = {3, 2, 4};
        PrefixedAttention.Prefixed sequences =
                new PrefixedAttention.Prefixed(
                        new Attention.Sequences(start, length, start, length),
                        new int[3],
                        new int[] {0, 3, 3});
        int[] sideBySide = {0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7, 8};
        int[] answers = {0, 1, 2, 6, 7, 11, 12, 13, 14};
        try (GradientCheck check = new GradientCheck(target, 31)) {
            check.allowFor(3); // scores, probabilities and the result are rounded
            check.variable("q", 9, heads * 4L);
            check.variable("k", 9, kvHeads * 4L);
            check.variable("v", 9, kvHeads * 4L);
            check.check(
                    (tape, x) ->
                            tape.attention(
                                    x.apply("q"),
                                    x.apply("k"),
                                    x.apply("v"),
                                    new Attention.Shape(heads, kvHeads, 4, causal, 0.5f),
                                    sequences),
                    v ->
                            Float64.takeRows(
                                    Float64.attention(
                                            Float64.takeRows(get(v, "q"), sideBySide, heads * 4),
                                            Float64.takeRows(get(v, "k"), sideBySide, kvHeads * 4),
                                            Float64.takeRows(get(v, "v"), sideBySide, kvHeads * 4),
                                            new int[] {0, 3, 8, 15},
                                            heads,
                                            kvHeads,
                                            4,
                                            causal,
                                            0.5),
                                    answers,
                                    heads * 4));
        }
    }

    @Test
    void embedding() {
        int[] ids = {3, 0, 3, 3, 5};
        try (GradientCheck check = new GradientCheck(target, 10)) {
            Parameter table = check.parameter("table", 6, 5);
            check.check(
                    (tape, _) -> tape.embedding(table, tape.upload(ids, 5)),
                    v -> Float64.takeRows(get(v, "table"), ids, 5));
        }
    }

    @Test
    void takeRows() {
        int[] rows = {3, 0, 3};
        try (GradientCheck check = new GradientCheck(target, 11)) {
            check.variable("x", 2, 2, 5);
            check.check(
                    (tape, x) -> tape.takeRows(x.apply("x"), tape.upload(rows, 3)),
                    v -> Float64.takeRows(get(v, "x"), rows, 5));
        }
    }

    @Test
    void replaceRows() {
        int[] targetRows = {4, 1, 2};
        int[] sourceRows = {0, 2, 0};
        try (GradientCheck check = new GradientCheck(target, 12)) {
            check.variable("x", 6, 5);
            check.variable("source", 3, 5);
            check.check(
                    (tape, x) ->
                            tape.replaceRows(
                                    x.apply("x"),
                                    tape.upload(targetRows, 3),
                                    x.apply("source"),
                                    tape.upload(sourceRows, 3)),
                    v -> {
                        double[] y = get(v, "x").clone();
                        for (int i = 0; i < 3; i++) {
                            System.arraycopy(
                                    get(v, "source"), sourceRows[i] * 5, y, targetRows[i] * 5, 5);
                        }
                        return y;
                    });
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void patchEmbedding(boolean biased) {
        int tiles = 2;
        int channels = 3;
        int patch = 2;
        int height = 4;
        int width = 6;
        int out = 5;
        int patches = 6;
        try (GradientCheck check = new GradientCheck(target, 13)) {
            float[] pixels = check.random(tiles * channels * height * width);
            Parameter weight = check.parameter("weight", out, channels, patch, patch);
            Parameter bias = biased ? check.parameter("bias", out) : null;
            Parameter cls = check.parameter("cls", 1, 1, out);
            Parameter positions = check.parameter("positions", 1, 1 + patches, out);
            check.check(
                    (tape, _) -> {
                        Tensor y =
                                tape.patchEmbedding(
                                        tape.upload(pixels, tiles, channels, height, width),
                                        weight,
                                        bias,
                                        cls,
                                        positions);
                        assertThat(y.shape()).isEqualTo(Shape.of(tiles, 1 + patches, out));
                        return y;
                    },
                    v -> {
                        double[] y = new double[tiles * (1 + patches) * out];
                        for (int t = 0; t < tiles; t++) {
                            for (int token = 0; token <= patches; token++) {
                                for (int o = 0; o < out; o++) {
                                    double sum = get(v, "positions")[token * out + o];
                                    if (token == 0) {
                                        sum += get(v, "cls")[o];
                                    } else {
                                        sum += biased ? get(v, "bias")[o] : 0;
                                        int row = (token - 1) / (width / patch) * patch;
                                        int column = (token - 1) % (width / patch) * patch;
                                        for (int e = 0; e < channels * patch * patch; e++) {
                                            int c = e / (patch * patch);
                                            int dy = e / patch % patch;
                                            int dx = e % patch;
                                            int at =
                                                    ((t * channels + c) * height + row + dy) * width
                                                            + column
                                                            + dx;
                                            sum +=
                                                    pixels[at]
                                                            * get(v, "weight")[
                                                                    o * channels * patch * patch
                                                                            + e];
                                        }
                                    }
                                    y[(t * (1 + patches) + token) * out + o] = sum;
                                }
                            }
                        }
                        return y;
                    });
        }
    }

    @Test
    void connector() {
        int grid = 4;
        int width = 3;
        try (GradientCheck check = new GradientCheck(target, 15)) {
            check.allowFor(4); // normed rows, inner rows, and both on the way back
            check.variable("x", 2, 17, width);
            Tape.Affine norm = affine(check, "norm", 12);
            Tape.Affine first = affine(check, "first", 7, 12);
            Tape.Affine second = affine(check, "second", 5, 7);
            check.check(
                    (tape, x) ->
                            tape.connector(x.apply("x"), grid, norm, (float) EPS, first, second),
                    v -> {
                        double[] normed =
                                Float64.layerNorm(
                                        unshuffled(get(v, "x"), 2, grid, width),
                                        get(v, "norm.weight"),
                                        get(v, "norm.bias"),
                                        EPS);
                        double[] inner =
                                Float64.gelu(
                                        Float64.linear(
                                                normed,
                                                get(v, "first.weight"),
                                                get(v, "first.bias"),
                                                8));
                        return Float64.linear(
                                inner, get(v, "second.weight"), get(v, "second.bias"), 8);
                    });
        }
    }

    private static Tape.Affine affine(GradientCheck check, String name, long... dims) {
        return new Tape.Affine(
                check.parameter(name + ".weight", dims), check.parameter(name + ".bias", dims[0]));
    }

    /// Pixel unshuffle by its formula.
    private static double[] unshuffled(double[] x, int tiles, int grid, int width) {
        int half = grid / 2;
        double[] y = new double[tiles * grid * grid * width];
        int at = 0;
        for (int t = 0; t < tiles; t++) {
            for (int row = 0; row < half; row++) {
                for (int column = 0; column < half; column++) {
                    for (int d = 0; d < 4; d++) {
                        int patch = (2 * row + d / 2) * grid + 2 * column + d % 2;
                        int from = (t * (1 + grid * grid) + 1 + patch) * width;
                        System.arraycopy(x, from, y, at, width);
                        at += width;
                    }
                }
            }
        }
        return y;
    }

    @Test
    void pixelUnshuffle() {
        int grid = 4;
        int width = 3;
        try (GradientCheck check = new GradientCheck(target, 14)) {
            check.variable("x", 2, 17, width);
            check.check(
                    (tape, x) -> tape.pixelUnshuffle(x.apply("x"), grid),
                    v -> unshuffled(get(v, "x"), 2, grid, width));
        }
    }

    @Test
    void addOfTwoAndOfOneToItself() {
        try (GradientCheck check = new GradientCheck(target, 15)) {
            check.variable("a", 3, 5);
            check.variable("b", 3, 5);
            check.check(
                    (tape, x) -> {
                        Tensor sum = tape.add(x.apply("a"), x.apply("b"));
                        return tape.add(tape.add(sum, sum), x.apply("a"));
                    },
                    v -> {
                        double[] sum = Float64.add(get(v, "a"), get(v, "b"));
                        return Float64.add(Float64.add(sum, sum), get(v, "a"));
                    });
        }
    }

    @ParameterizedTest
    @CsvSource({"true,1", "true,0.7", "false,1"})
    void logProbs(boolean bans, float temperature) {
        int rows = 5;
        int vocab = 11;
        int[] targets = {3, 0, 10, 3, 4};
        byte[] banned = new byte[bans ? vocab : 0];
        if (bans) {
            banned[1] = 1;
            banned[9] = 1;
        }
        for (int part = 0; part < 2; part++) {
            int which = part;
            try (GradientCheck check = new GradientCheck(target, 16)) {
                check.variable("hidden", rows, 6);
                Parameter head = check.parameter("head", vocab, 6);
                check.check(
                        (tape, x) -> {
                            Tape.LogProbs result =
                                    tape.logProbs(
                                            x.apply("hidden"),
                                            head,
                                            tape.upload(targets, rows),
                                            temperature,
                                            bans ? tape.upload(banned, vocab) : null);
                            return which == 0 ? result.logProb() : result.entropy();
                        },
                        v ->
                                Arrays.copyOfRange(
                                        Float64.logProbs(
                                                get(v, "hidden"),
                                                get(v, "head"),
                                                targets,
                                                temperature,
                                                banned),
                                        which * rows,
                                        (which + 1) * rows));
            }
        }
    }

    @Test
    void logProbsWithBothSeeds() {
        int rows = 4;
        int[] targets = {3, 0, 6, 3};
        try (GradientCheck check = new GradientCheck(target, 17)) {
            check.variable("hidden", rows, 5);
            Parameter head = check.parameter("head", 7, 5);
            check.check(
                    (tape, x) -> {
                        Tape.LogProbs result =
                                tape.logProbs(
                                        x.apply("hidden"),
                                        head,
                                        tape.upload(targets, rows),
                                        1,
                                        null);
                        return tape.add(result.logProb(), result.entropy());
                    },
                    v -> {
                        double[] both =
                                Float64.logProbs(
                                        get(v, "hidden"), get(v, "head"), targets, 1, new byte[0]);
                        return Float64.add(
                                Arrays.copyOf(both, rows),
                                Arrays.copyOfRange(both, rows, 2 * rows));
                    });
        }
    }

    /// A tensor with many consumers of every kind, residuals that share gradients, a tied head.
    @Test
    void aBlockWithSharedTensors() {
        int rows = 6;
        int width = 4;
        int[] cumulative = {0, 2, 6};
        int[] positions = {0, 1, 0, 1, 2, 3};
        int[] ids = {1, 5, 2, 2, 0, 3};
        int[] targets = {5, 2, 2, 0, 3, 4};
        try (GradientCheck check = new GradientCheck(target, 18);
                RopeTable table = new RopeTable(check.kernels, 4, 4, 100)) {
            check.allowFor(4);
            Parameter embeddings = check.parameter("embeddings", 7, width);
            Parameter norm = check.parameter("norm", width);
            List<Parameter> qkv =
                    List.of(
                            check.parameter("q", width, width),
                            check.parameter("k", width, width),
                            check.parameter("v", width, width));
            Parameter output = check.parameter("output", width, width);
            Parameter gate = check.parameter("gate", 5, width);
            Parameter up = check.parameter("up", 5, width);
            Parameter down = check.parameter("down", width, 5);
            check.check(
                    (tape, _) -> {
                        Tensor x = tape.embedding(embeddings, tape.upload(ids, rows));
                        Tensor at = tape.upload(positions, rows);
                        Tensor normed = tape.rmsNorm(x, norm, (float) EPS);
                        Tensor mixed =
                                tape.attention(
                                        tape.rope(
                                                tape.linear(normed, qkv.get(0), null),
                                                table,
                                                at,
                                                4),
                                        tape.rope(
                                                tape.linear(normed, qkv.get(1), null),
                                                table,
                                                at,
                                                4),
                                        tape.linear(normed, qkv.get(2), null),
                                        new Attention.Shape(1, 1, 4, true, 0.5f),
                                        Attention.Sequences.packed(cumulative));
                        Tensor attended = tape.linearResidual(mixed, output, null, null, x);
                        Tensor inner =
                                tape.swiGlu(tape.rmsNorm(attended, norm, (float) EPS), gate, up);
                        Tensor last = tape.linearResidual(inner, down, null, null, attended);
                        return tape.logProbs(last, embeddings, tape.upload(targets, rows), 1, null)
                                .logProb();
                    },
                    v -> {
                        double[] x = Float64.takeRows(get(v, "embeddings"), ids, width);
                        double[] normed = Float64.rmsNorm(x, get(v, "norm"), EPS);
                        double[] q = Float64.linear(normed, get(v, "q"), NONE, rows);
                        double[] k = Float64.linear(normed, get(v, "k"), NONE, rows);
                        double[] mixed =
                                Float64.attention(
                                        Float64.rope(q, positions, 4, 100),
                                        Float64.rope(k, positions, 4, 100),
                                        Float64.linear(normed, get(v, "v"), NONE, rows),
                                        cumulative,
                                        1,
                                        1,
                                        4,
                                        true,
                                        0.5);
                        double[] attended =
                                Float64.add(x, Float64.linear(mixed, get(v, "output"), NONE, rows));
                        double[] again = Float64.rmsNorm(attended, get(v, "norm"), EPS);
                        double[] inner =
                                Float64.swiGlu(
                                        Float64.linear(again, get(v, "gate"), NONE, rows),
                                        Float64.linear(again, get(v, "up"), NONE, rows));
                        double[] last =
                                Float64.add(
                                        attended,
                                        Float64.linear(inner, get(v, "down"), NONE, rows));
                        return Arrays.copyOf(
                                Float64.logProbs(
                                        last, get(v, "embeddings"), targets, 1, new byte[0]),
                                rows);
                    });
        }
    }

    @Test
    void viewsAndSlicesShareTheirTensorsGradient() {
        try (GradientCheck check = new GradientCheck(target, 19)) {
            check.variable("x", 4, 6);
            Parameter weight = check.parameter("weight", 3, 6);
            check.check(
                    (tape, x) -> {
                        Tensor whole = tape.linear(x.apply("x"), weight, null);
                        Tensor view = whole.view(6, 2);
                        Tensor sum = tape.add(view.slice(0, 3), view.slice(3, 3));
                        return tape.add(sum, whole.slice(1, 2).view(3, 2));
                    },
                    v -> {
                        double[] y = Float64.linear(get(v, "x"), get(v, "weight"), NONE, 4);
                        double[] sum = new double[6];
                        for (int i = 0; i < 6; i++) {
                            sum[i] = y[i] + y[6 + i] + y[3 + i];
                        }
                        return sum;
                    });
        }
    }
}
