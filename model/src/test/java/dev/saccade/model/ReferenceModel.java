package dev.saccade.model;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.testing.Buffers;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleUnaryOperator;
import org.jspecify.annotations.Nullable;

/// The whole model in double precision and plain loops, one sequence at a time: the oracle that the
/// engine's forward pass and gradients are compared with. It shares no code with the engine.
///
/// It can round what it stores between its operations to bfloat16: how far that takes it from the
/// exact result is what an engine with bfloat16 activations may be off.
final class ReferenceModel {
    private final VisionLanguageConfig config;
    private final Map<String, double[]> weights;
    private final DoubleUnaryOperator stored;

    /// @param weights every parameter by name; read at each call, so that a test may change them
    ReferenceModel(VisionLanguageConfig config, Map<String, double[]> weights) {
        this(config, weights, DoubleUnaryOperator.identity());
    }

    private ReferenceModel(
            VisionLanguageConfig config,
            Map<String, double[]> weights,
            DoubleUnaryOperator stored) {
        this.config = config;
        this.weights = weights;
        this.stored = stored;
    }

    /// The same model with every activation rounded to bfloat16.
    ReferenceModel rounded() {
        return new ReferenceModel(config, weights, x -> Buffers.rounded(DType.BF16, (float) x));
    }

    private double[][] store(double[][] x) {
        for (double[] row : x) {
            for (int i = 0; i < row.length; i++) {
                row[i] = stored.applyAsDouble(row[i]);
            }
        }
        return x;
    }

    /// The parameters of a model in double precision.
    static Map<String, double[]> weights(VisionLanguageModel model) {
        Map<String, double[]> weights = new HashMap<>();
        model.parametersByName()
                .forEach((name, p) -> weights.put(name, widen(p.value().toFloats())));
        return weights;
    }

    static double[] widen(float[] values) {
        double[] wide = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            wide[i] = values[i];
        }
        return wide;
    }

    /// Log-probability and entropy of each completion token.
    record Token(double logProb, double entropy) {}

    /// What the model says about a prompt's completion.
    Token[] tokens(Prompt prompt, int[] completion, double temperature) {
        int promptLength = prompt.tokens().length;
        double[][] x = new double[promptLength + completion.length][];
        double[][] visual = visualTokens(prompt);
        int nextVisual = 0;
        for (int i = 0; i < x.length; i++) {
            int token = i < promptLength ? prompt.tokens()[i] : completion[i - promptLength];
            x[i] =
                    token == config.imageTokenId()
                            ? visual[nextVisual++].clone()
                            : row(weight("model.language_model.embed_tokens.weight"), token);
        }
        double[][] hidden = decode(x);
        double[] head =
                weight(
                        config.text().tieWordEmbeddings()
                                ? "model.language_model.embed_tokens.weight"
                                : "lm_head.weight");
        Token[] result = new Token[completion.length];
        for (int i = 0; i < completion.length; i++) {
            double[] logits = linear(new double[][] {hidden[promptLength + i - 1]}, head, null)[0];
            result[i] = token(logits, completion[i], temperature);
        }
        return result;
    }

    private double[] row(double[] table, int index) {
        int width = config.text().hiddenSize();
        double[] row = new double[width];
        System.arraycopy(table, index * width, row, 0, width);
        return row;
    }

    private Token token(double[] logits, int target, double temperature) {
        List<Integer> banned = config.suppressTokens();
        double max = Double.NEGATIVE_INFINITY;
        for (int v = 0; v < logits.length; v++) {
            logits[v] =
                    v == config.imageTokenId() || banned.contains(v)
                            ? Double.NEGATIVE_INFINITY
                            : logits[v] / temperature;
            max = Math.max(max, logits[v]);
        }
        double sum = 0;
        for (double logit : logits) {
            sum += Math.exp(logit - max);
        }
        double logSum = max + Math.log(sum);
        double entropy = 0;
        for (double logit : logits) {
            double p = Math.exp(logit - logSum);
            if (p > 0) {
                entropy -= p * (logit - logSum);
            }
        }
        return new Token(logits[target] - logSum, entropy);
    }

    private double[][] decode(double[][] embeddings) {
        LanguageConfig text = config.text();
        double[][] x = embeddings;
        for (int layer = 0; layer < text.numHiddenLayers(); layer++) {
            String prefix = "model.language_model.layers." + layer + ".";
            String attention = prefix + "self_attn.";
            double[][] normed =
                    store(rmsNorm(x, weight(prefix + "input_layernorm.weight"), text.rmsNormEps()));
            double[][] q = named(normed, attention + "q_proj");
            double[][] k = named(normed, attention + "k_proj");
            double[][] v = named(normed, attention + "v_proj");
            rotate(q);
            rotate(k);
            double[][] mixed =
                    store(
                            attention(
                                    q,
                                    k,
                                    v,
                                    text.numAttentionHeads(),
                                    text.numKeyValueHeads(),
                                    text.headDim(),
                                    true));
            x = store(add(x, named(mixed, attention + "o_proj"), null));
            double[][] inner =
                    store(
                            rmsNorm(
                                    x,
                                    weight(prefix + "post_attention_layernorm.weight"),
                                    text.rmsNormEps()));
            double[][] gate = named(inner, prefix + "mlp.gate_proj");
            double[][] up = named(inner, prefix + "mlp.up_proj");
            for (int i = 0; i < gate.length; i++) {
                for (int j = 0; j < gate[i].length; j++) {
                    gate[i][j] = gate[i][j] / (1 + Math.exp(-gate[i][j])) * up[i][j];
                }
            }
            x = store(add(x, named(store(gate), prefix + "mlp.down_proj"), null));
        }
        return store(rmsNorm(x, weight("model.language_model.norm.weight"), text.rmsNormEps()));
    }

    private void rotate(double[][] x) {
        int headDim = config.text().headDim();
        int half = headDim / 2;
        double base = config.text().ropeTheta();
        if (config.text().ropeScaling() instanceof RopeScaling.ConstantBase(double factor)) {
            base *= Math.pow(factor * factor - factor + 1, headDim / (headDim - 2.0));
        }
        for (int position = 0; position < x.length; position++) {
            for (int start = 0; start < x[position].length; start += headDim) {
                for (int i = 0; i < half; i++) {
                    double angle = position * Math.pow(base, -2.0 * i / headDim);
                    double a = x[position][start + i];
                    double b = x[position][start + half + i];
                    x[position][start + i] = a * Math.cos(angle) - b * Math.sin(angle);
                    x[position][start + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
                }
            }
        }
        store(x);
    }

    private double[][] visualTokens(Prompt prompt) {
        if (prompt.pixels() == null) {
            return new double[0][];
        }
        int tiles = prompt.pixels().tiles();
        float[] pixels = prompt.pixels().values();
        double[][] visual = new double[tiles * config.tokensPerTile()][];
        int next = 0;
        for (int tile = 0; tile < tiles; tile++) {
            for (double[] token : connect(encode(pixels, tile * (pixels.length / tiles)))) {
                visual[next++] = token;
            }
        }
        return visual;
    }

    private double[][] encode(float[] pixels, int offset) {
        VisionConfig vision = config.vision();
        String embeddings = "model.vision_tower.embeddings.";
        int grid = vision.grid();
        int patch = vision.patchSize();
        int side = vision.imageSize();
        int width = vision.hiddenSize();
        double[][] patches = new double[vision.patches()][vision.numChannels() * patch * patch];
        for (int p = 0; p < patches.length; p++) {
            int element = 0;
            for (int channel = 0; channel < vision.numChannels(); channel++) {
                for (int dy = 0; dy < patch; dy++) {
                    for (int dx = 0; dx < patch; dx++) {
                        int y = p / grid * patch + dy;
                        int x = p % grid * patch + dx;
                        patches[p][element++] = pixels[offset + (channel * side + y) * side + x];
                    }
                }
            }
        }
        double[][] embedded = named(store(patches), embeddings + "patch_embeddings.projection");
        double[] positions = weight(embeddings + "position_embeddings");
        double[][] x = new double[1 + patches.length][width];
        for (int i = 0; i < x.length; i++) {
            double[] content = i == 0 ? weight(embeddings + "cls_token") : embedded[i - 1];
            for (int c = 0; c < width; c++) {
                x[i][c] = content[c] + positions[i * width + c];
            }
        }
        store(x);
        for (int layer = 0; layer < vision.numHiddenLayers(); layer++) {
            String prefix = "model.vision_tower.encoder.layer." + layer + ".";
            String attention = prefix + "attention.";
            double[][] normed = visionNorm(x, prefix + "layernorm_before");
            double[][] q = named(normed, attention + "q_proj");
            double[][] k = named(normed, attention + "k_proj");
            double[][] v = named(normed, attention + "v_proj");
            if (vision.useQkNorm()) {
                q = store(rmsNorm(q, weight(attention + "q_norm.weight"), 1e-6));
                k = store(rmsNorm(k, weight(attention + "k_norm.weight"), 1e-6));
            }
            int heads = vision.numAttentionHeads();
            double[][] mixed = store(attention(q, k, v, heads, heads, width / heads, false));
            double[][] attended = named(mixed, attention + "projection_layer");
            x = store(add(x, attended, weight(prefix + "lambda_1")));
            double[][] inner = named(visionNorm(x, prefix + "layernorm_after"), prefix + "mlp.fc1");
            gelu(inner);
            double[][] branch = named(store(inner), prefix + "mlp.fc2");
            x = store(add(x, branch, weight(prefix + "lambda_2")));
        }
        return x;
    }

    private double[][] visionNorm(double[][] x, String name) {
        double eps = config.vision().layerNormEps();
        return store(
                config.vision().normType() == NormType.RMS_NORM
                        ? rmsNorm(x, weight(name + ".weight"), eps)
                        : layerNorm(x, weight(name + ".weight"), weight(name + ".bias"), eps));
    }

    private double[][] connect(double[][] x) {
        String prefix = "model.multi_modal_projector.";
        int grid = config.vision().grid();
        int width = config.vision().hiddenSize();
        double[][] folded = new double[grid * grid / 4][4 * width];
        for (int row = 0; row < grid; row++) {
            for (int column = 0; column < grid; column++) {
                int token = row / 2 * (grid / 2) + column / 2;
                int part = row % 2 * 2 + column % 2;
                System.arraycopy(x[1 + row * grid + column], 0, folded[token], part * width, width);
            }
        }
        double[][] normed =
                store(
                        layerNorm(
                                folded,
                                weight(prefix + "layer_norm.weight"),
                                weight(prefix + "layer_norm.bias"),
                                1e-5));
        double[][] inner = named(normed, prefix + "linear_1");
        gelu(inner);
        return named(store(inner), prefix + "linear_2");
    }

    private static double[][] attention(
            double[][] q,
            double[][] k,
            double[][] v,
            int heads,
            int kvHeads,
            int headDim,
            boolean causal) {
        double[][] out = new double[q.length][heads * headDim];
        for (int head = 0; head < heads; head++) {
            int qStart = head * headDim;
            int kvStart = head / (heads / kvHeads) * headDim;
            for (int i = 0; i < q.length; i++) {
                int keys = causal ? i + 1 : k.length;
                double[] scores = new double[keys];
                double sum = 0;
                for (int j = 0; j < keys; j++) {
                    double dot = 0;
                    for (int d = 0; d < headDim; d++) {
                        dot += q[i][qStart + d] * k[j][kvStart + d];
                    }
                    scores[j] = Math.exp(dot / Math.sqrt(headDim));
                    sum += scores[j];
                }
                for (int j = 0; j < keys; j++) {
                    for (int d = 0; d < headDim; d++) {
                        out[i][qStart + d] += scores[j] / sum * v[j][kvStart + d];
                    }
                }
            }
        }
        return out;
    }

    private static double[][] rmsNorm(double[][] x, double[] weight, double eps) {
        double[][] y = new double[x.length][];
        for (int i = 0; i < x.length; i++) {
            double squares = 0;
            for (double value : x[i]) {
                squares += value * value;
            }
            double factor = 1 / Math.sqrt(squares / x[i].length + eps);
            y[i] = new double[x[i].length];
            for (int c = 0; c < x[i].length; c++) {
                y[i][c] = x[i][c] * factor * weight[c];
            }
        }
        return y;
    }

    private static double[][] layerNorm(double[][] x, double[] weight, double[] bias, double eps) {
        double[][] y = new double[x.length][];
        for (int i = 0; i < x.length; i++) {
            double mean = 0;
            for (double value : x[i]) {
                mean += value / x[i].length;
            }
            double variance = 0;
            for (double value : x[i]) {
                variance += (value - mean) * (value - mean) / x[i].length;
            }
            y[i] = new double[x[i].length];
            for (int c = 0; c < x[i].length; c++) {
                y[i][c] = (x[i][c] - mean) / Math.sqrt(variance + eps) * weight[c] + bias[c];
            }
        }
        return y;
    }

    private static void gelu(double[][] x) {
        for (double[] row : x) {
            for (int c = 0; c < row.length; c++) {
                row[c] = row[c] / 2 * (1 + erf(row[c] / Math.sqrt(2)));
            }
        }
    }

    /// The error function by its Maclaurin series, which is exact enough for the arguments here and
    /// saturates beyond them.
    static double erf(double z) {
        if (Math.abs(z) > 5) {
            return Math.signum(z);
        }
        double term = z;
        double sum = z;
        for (int n = 1; n < 200; n++) {
            term *= -z * z / n;
            sum += term / (2 * n + 1);
        }
        return 2 / Math.sqrt(Math.PI) * sum;
    }

    private static double[][] add(double[][] x, double[][] branch, double @Nullable [] scale) {
        double[][] y = new double[x.length][x[0].length];
        for (int i = 0; i < x.length; i++) {
            for (int c = 0; c < x[i].length; c++) {
                y[i][c] = x[i][c] + (scale == null ? 1 : scale[c]) * branch[i][c];
            }
        }
        return y;
    }

    private double[][] named(double[][] x, String name) {
        return store(linear(x, weight(name + ".weight"), weights.get(name + ".bias")));
    }

    private double[] weight(String name) {
        double[] values = weights.get(name);
        if (values == null) {
            throw new IllegalStateException("no weight " + name);
        }
        return values;
    }

    private static double[][] linear(double[][] x, double[] weight, double @Nullable [] bias) {
        int in = x[0].length;
        int out = weight.length / in;
        double[][] y = new double[x.length][out];
        for (int i = 0; i < x.length; i++) {
            for (int n = 0; n < out; n++) {
                double sum = bias == null ? 0 : bias[n];
                for (int c = 0; c < in; c++) {
                    sum += x[i][c] * weight[n * in + c];
                }
                y[i][n] = sum;
            }
        }
        return y;
    }
}
