package dev.saccade.model.language;

import static dev.saccade.model.ParameterSpecification.embedding;
import static dev.saccade.model.ParameterSpecification.vector;
import static dev.saccade.model.ParameterSpecification.weight;

import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.model.internal.LayerStack;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.RopeTable;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// The Qwen2 decoder: pre-norm layers `x += attention(rms(x))`, `x += down(silu(gate(y)) * up(y))`
/// with y = rms(x), rotary positions, grouped-query attention, a final RMSNorm and the head.
/// Source: Qwen2.5 (2412.15115).
///
/// One forward pass serves training, prefill and decode. All its operations compute a row from that
/// row alone, and attention walks a sequence's keys in blocks aligned at its first key, so the
/// hidden state of a token has the same bits in all three.
public final class LanguageModel implements AutoCloseable {
    private static final String PREFIX = "model.language_model.";

    private final LanguageConfig config;
    private final Attention.Shape attention;
    private final RopeTable rope;
    private final Parameter embedTokens;
    private final List<LanguageLayer> layers = new ArrayList<>();
    private final List<Parameter> layerParameters = new ArrayList<>();
    private final Parameter finalNorm;
    private final Parameter head;

    /// @param parameters finds a parameter by its checkpoint name
    public LanguageModel(
            LanguageConfig config, Kernels kernels, Function<String, Parameter> parameters) {
        this.config = config;
        this.attention = attention(config);
        this.embedTokens = parameters.apply(PREFIX + "embed_tokens.weight");
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            layers.add(
                    new LanguageLayer(
                            config,
                            layerPrefix(i),
                            name -> {
                                Parameter parameter = parameters.apply(name);
                                layerParameters.add(parameter);
                                return parameter;
                            }));
        }
        this.finalNorm = parameters.apply(PREFIX + "norm.weight");
        this.head = config.tieWordEmbeddings() ? embedTokens : parameters.apply("lm_head.weight");
        this.rope =
                new RopeTable(
                        kernels,
                        config.maxPositionEmbeddings(),
                        config.headDim(),
                        config.ropeBase());
    }

    /// The extents of each layer's attention.
    public static Attention.Shape attention(LanguageConfig config) {
        return new Attention.Shape(
                config.numAttentionHeads(),
                config.numKeyValueHeads(),
                config.headDim(),
                true,
                (float) (1 / Math.sqrt(config.headDim())));
    }

    /// The decoder's parameters in checkpoint order, the head last.
    public static List<ParameterSpecification> parameters(LanguageConfig config) {
        ParameterGroup group = ParameterGroup.LANGUAGE;
        long width = config.hiddenSize();
        List<ParameterSpecification> all = new ArrayList<>();
        all.add(embedding(PREFIX + "embed_tokens.weight", group, 0.3, config.vocabSize(), width));
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            LanguageLayer.addParameters(config, layerPrefix(i), all);
        }
        all.add(vector(PREFIX + "norm.weight", group, 1, width));
        if (!config.tieWordEmbeddings()) {
            all.add(weight("lm_head.weight", group, config.vocabSize(), width));
        }
        return all;
    }

    private static String layerPrefix(int layer) {
        return PREFIX + "layers." + layer + ".";
    }

    /// The head's weight [vocabSize, hiddenSize].
    public Parameter head() {
        return head;
    }

    /// The embeddings of token ids.
    ///
    /// @param ids I32 [T]
    /// @return [T, hiddenSize]
    public Tensor embed(Tape tape, Tensor ids) {
        return tape.embedding(embedTokens, ids);
    }

    /// The hidden states after the final norm.
    ///
    /// @param embeddings [T, hiddenSize], the sequences' new tokens one behind the other
    /// @param positions I32 [T], each token's position in its sequence
    /// @param sequences where the tokens lie. Without a cache: packed self-attention. With one: the
    ///   queries are the rows of `embeddings`, the keys are the cache's rows, `keyStart` being the
    ///   first row of pages that follow each other and `keyLength` counting the new tokens, which
    ///   are appended before the attention
    /// @param cache null, or the cache; then nothing is recorded
    /// @return [T, hiddenSize]
    public Tensor forward(
            Tape tape,
            Tensor embeddings,
            Tensor positions,
            Attention.Sequences sequences,
            @Nullable KvCache cache) {
        if (cache != null && tape.isRecording()) {
            throw new IllegalArgumentException("a KV cache is for an inference tape");
        }
        KeySource keySource =
                cache == null
                        ? new KeySource.Packed(sequences)
                        : new KeySource.Cached(
                                cache,
                                tape.upload(newRows(sequences), embeddings.rows()),
                                sequences);
        return forward(tape, embeddings, positions, keySource);
    }

    /// One decode step: the hidden states that predict each sequence's next token. It reads nothing
    /// but device memory and can be recorded ([dev.saccade.engine.Device#record(Runnable)]). The
    /// bits are those of [#forward].
    ///
    /// @return [n, hiddenSize]
    public Tensor decode(Tape tape, DecodeInputs inputs, KvCache cache) {
        if (tape.isRecording()) {
            throw new IllegalArgumentException("a KV cache is for an inference tape");
        }
        return forward(
                tape,
                embed(tape, inputs.tokens()),
                inputs.positions(),
                new KeySource.Decoded(cache, inputs));
    }

    private Tensor forward(Tape tape, Tensor embeddings, Tensor positions, KeySource keySource) {
        boolean record = LayerStack.records(tape, embeddings.requiresGrad(), layerParameters);
        Tensor last =
                LayerStack.run(
                        tape,
                        embeddings,
                        layers.size(),
                        record,
                        (section, index, x) ->
                                layers.get(index)
                                        .forward(
                                                section,
                                                x,
                                                new LanguageLayer.Context(
                                                        index, attention, rope, positions,
                                                        keySource)));
        return tape.rmsNorm(last, finalNorm, config.rmsNormEps());
    }

    /// The cache rows of the new tokens, in the order of the query rows.
    private static int[] newRows(Attention.Sequences sequences) {
        int[] rows = new int[sequences.queryRows()];
        for (int s = 0; s < sequences.count(); s++) {
            int length = sequences.queryLength()[s];
            int end = sequences.keyStart()[s] + sequences.keyLength()[s];
            for (int i = 0; i < length; i++) {
                rows[sequences.queryStart()[s] + i] = end - length + i;
            }
        }
        return rows;
    }

    @Override
    public void close() {
        rope.close();
    }
}
