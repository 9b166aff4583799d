package dev.saccade.model.language;

import static dev.saccade.model.ParameterSpecification.vector;
import static dev.saccade.model.ParameterSpecification.weight;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.position.Rope;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.RopeTable;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// One layer of the decoder.
final class LanguageLayer {
    private final float eps;
    private final Parameter inputNorm;
    private final Parameter queryWeight;
    private final Parameter keyWeight;
    private final Parameter valueWeight;
    private final @Nullable Parameter queryBias;
    private final @Nullable Parameter keyBias;
    private final @Nullable Parameter valueBias;
    private final Parameter outputWeight;
    private final Parameter postAttentionNorm;
    private final Parameter gate;
    private final Parameter up;
    private final Parameter down;

    /// What a forward pass gives each layer beside its input.
    ///
    /// @param positions I32, one for each row
    record Context(
            int layer,
            Attention.Shape attention,
            RopeTable rope,
            Tensor positions,
            KeySource keySource) {}

    LanguageLayer(LanguageConfig config, String prefix, Function<String, Parameter> parameters) {
        String attention = prefix + "self_attn.";
        this.eps = config.rmsNormEps();
        this.inputNorm = parameters.apply(prefix + "input_layernorm.weight");
        this.queryWeight = parameters.apply(attention + "q_proj.weight");
        this.keyWeight = parameters.apply(attention + "k_proj.weight");
        this.valueWeight = parameters.apply(attention + "v_proj.weight");
        boolean bias = config.attentionBias();
        this.queryBias = bias ? parameters.apply(attention + "q_proj.bias") : null;
        this.keyBias = bias ? parameters.apply(attention + "k_proj.bias") : null;
        this.valueBias = bias ? parameters.apply(attention + "v_proj.bias") : null;
        this.outputWeight = parameters.apply(attention + "o_proj.weight");
        this.postAttentionNorm = parameters.apply(prefix + "post_attention_layernorm.weight");
        this.gate = parameters.apply(prefix + "mlp.gate_proj.weight");
        this.up = parameters.apply(prefix + "mlp.up_proj.weight");
        this.down = parameters.apply(prefix + "mlp.down_proj.weight");
    }

    static void addParameters(
            LanguageConfig config, String prefix, List<ParameterSpecification> all) {
        ParameterGroup group = ParameterGroup.LANGUAGE;
        long width = config.hiddenSize();
        long inner = config.intermediateSize();
        long queries = config.queryWidth();
        long keys = config.keyValueWidth();
        String attention = prefix + "self_attn.";
        all.add(vector(prefix + "input_layernorm.weight", group, 1, width));
        all.add(weight(attention + "q_proj.weight", group, queries, width));
        all.add(weight(attention + "k_proj.weight", group, keys, width));
        all.add(weight(attention + "v_proj.weight", group, keys, width));
        if (config.attentionBias()) {
            all.add(vector(attention + "q_proj.bias", group, 0, queries));
            all.add(vector(attention + "k_proj.bias", group, 0, keys));
            all.add(vector(attention + "v_proj.bias", group, 0, keys));
        }
        all.add(weight(attention + "o_proj.weight", group, width, queries));
        all.add(vector(prefix + "post_attention_layernorm.weight", group, 1, width));
        all.add(weight(prefix + "mlp.gate_proj.weight", group, inner, width));
        all.add(weight(prefix + "mlp.up_proj.weight", group, inner, width));
        all.add(weight(prefix + "mlp.down_proj.weight", group, width, inner));
    }

    Tensor forward(Tape tape, Tensor x, Context context) {
        Tensor normed = tape.rmsNorm(x, inputNorm, eps);
        Tensor queries = tape.linear(normed, queryWeight, queryBias);
        Tensor keys = tape.linear(normed, keyWeight, keyBias);
        Tensor values = tape.linear(normed, valueWeight, valueBias);
        // In a frozen layer nothing but its input gradient is computed, which needs no layer's
        // input.
        tape.freeUnlessTrained(normed, queryWeight, keyWeight, valueWeight);
        Tensor mixed = attend(tape, queries, keys, values, context);
        Tensor attended = tape.linearResidual(mixed, outputWeight, null, null, x);
        Tensor normedAgain = tape.rmsNorm(attended, postAttentionNorm, eps);
        Tensor inner = tape.swiGlu(normedAgain, gate, up);
        tape.freeUnlessTrained(normedAgain, gate, up);
        Tensor result = tape.linearResidual(inner, down, null, null, attended);
        tape.freeUnlessTrained(inner, down);
        return result;
    }

    /// Attention of the queries to the keys, which get their rotary positions here.
    private static Tensor attend(
            Tape tape, Tensor queries, Tensor keys, Tensor values, Context context) {
        return switch (context.keySource()) {
            case KeySource.Packed(Attention.Sequences sequences) ->
                    tape.attention(
                            rotated(tape, queries, context),
                            rotated(tape, keys, context),
                            values,
                            context.attention(),
                            sequences);
            case KeySource.Cached(KvCache cache, Tensor rows, Attention.Sequences sequences) -> {
                append(tape, queries, keys, values, context, cache, rows);
                Result result = Result.of(tape, queries, context);
                tape.kernels()
                        .attention()
                        .forward(
                                context.attention(),
                                sequences,
                                queries.span(),
                                cache.keys(context.layer()),
                                cache.values(context.layer()),
                                result.mixed().span(),
                                result.logSumExp().span());
                yield result.mixed();
            }
            case KeySource.Decoded(KvCache cache, DecodeInputs inputs) -> {
                append(tape, queries, keys, values, context, cache, inputs.cacheRows());
                Result result = Result.of(tape, queries, context);
                tape.kernels()
                        .attention()
                        .decode(
                                context.attention(),
                                inputs.pages(),
                                inputs.prefixes(),
                                queries.span(),
                                cache.keys(context.layer()),
                                cache.values(context.layer()),
                                result.mixed().span(),
                                result.logSumExp().span());
                yield result.mixed();
            }
        };
    }

    /// What attention writes.
    private record Result(Tensor mixed, Tensor logSumExp) {
        static Result of(Tape tape, Tensor queries, Context context) {
            return new Result(
                    tape.empty(queries.dtype(), queries.rows(), queries.width()),
                    tape.empty(DType.F32, queries.rows(), context.attention().heads()));
        }
    }

    private static Tensor rotated(Tape tape, Tensor x, Context context) {
        return tape.ropeInPlace(
                x, context.rope(), context.positions(), context.attention().headDim());
    }

    /// Rotates the queries and writes new keys, rotated, and values into a layer of the cache. The
    /// bits are those of [#rotated].
    private static void append(
            Tape tape,
            Tensor queries,
            Tensor keys,
            Tensor values,
            Context context,
            KvCache cache,
            Tensor cacheRows) {
        tape.kernels()
                .rope()
                .rotateIntoCache(
                        queries.rows(),
                        context.attention().heads(),
                        context.attention().kvHeads(),
                        context.attention().headDim(),
                        context.rope().span(),
                        context.positions().span(),
                        queries.span(),
                        keys.span(),
                        values.span(),
                        new Rope.Cache(
                                cache.rows(),
                                cacheRows.span(),
                                cache.keys(context.layer()),
                                cache.values(context.layer())));
    }
}
