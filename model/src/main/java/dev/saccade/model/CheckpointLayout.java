package dev.saccade.model;

import dev.saccade.tensor.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// How a checkpoint names its tensors. A model's own parameters have the names of [#NATIVE]; a
/// layout maps these to what is in its files, and may stack several of them into one tensor.
public enum CheckpointLayout {
    /// Hugging Face's own classes (`InternVLForConditionalGeneration`): `model.vision_tower.`,
    /// `model.multi_modal_projector.`, `model.language_model.`, `lm_head.`.
    NATIVE("native"),

    /// The same in the spelling of the published `-hf` files: `vision_tower.`,
    /// `multi_modal_projector.`, `language_model.model.`, `language_model.lm_head.`. Read as
    /// [#NATIVE], which accepts every spelling.
    NATIVE_EARLY("native-early"),

    /// The code that comes with InternVL3 and Skywork-R1V3 (`InternVLChatModel`,
    /// `SkyworkR1VChatModel`): `vision_model.`, `mlp1.`, `language_model.`; queries, keys and
    /// values of a vision layer are one tensor.
    REMOTE_CODE("remote-code"),

    /// A language model alone (`Qwen2ForCausalLM`, `LlamaForCausalLM`): `model.`, `lm_head.`.
    TEXT("text"),

    /// A vision tower alone as OpenGVLab publishes it (`InternVisionModel`): the names of
    /// [#REMOTE_CODE] without `vision_model.`.
    VISION("vision");

    private static final String TOWER = "model.vision_tower.";
    private static final String PROJECTOR = "model.multi_modal_projector.";
    private static final String DECODER = "model.language_model.";
    private static final String HEAD = "lm_head.";

    /// First parts of names that some published files carry and no model reads.
    private static final List<String> STRAYS =
            List.of(
                    "action_embed",
                    "temporal_embed",
                    "box_token",
                    "cg_criterion",
                    "cg_model",
                    "loc_encoder",
                    "loc_decoder",
                    "sam",
                    "temporal_token",
                    "track_token");

    private final String label;

    CheckpointLayout(String label) {
        this.label = label;
    }

    /// The name in options and messages.
    public String label() {
        return label;
    }

    /// A tensor of a checkpoint.
    ///
    /// @param name its name there
    /// @param shape its shape there
    /// @param parts the model's parameters whose rows it holds, one below the other
    public record Stored(String name, Shape shape, List<ParameterSpecification> parts) {}

    /// The tensors that a checkpoint of this layout has for these parameters, in their order.
    public List<Stored> tensors(List<ParameterSpecification> parameters) {
        Map<String, List<ParameterSpecification>> parts = new LinkedHashMap<>();
        for (ParameterSpecification parameter : parameters) {
            parts.computeIfAbsent(storedName(parameter.name()), _ -> new ArrayList<>())
                    .add(parameter);
        }
        List<Stored> tensors = new ArrayList<>();
        parts.forEach((name, stacked) -> tensors.add(stored(name, stacked)));
        return tensors;
    }

    private static Stored stored(String name, List<ParameterSpecification> parts) {
        Shape shape = parts.getFirst().shape();
        if (parts.size() > 1) {
            long rows = parts.stream().mapToLong(part -> part.shape().dim(0)).sum();
            shape = shape.withFirst(rows);
        }
        return new Stored(name, shape, List.copyOf(parts));
    }

    /// The name in this layout of the tensor that holds a parameter.
    ///
    /// @param parameter a name of [#NATIVE]
    public String storedName(String parameter) {
        return switch (this) {
            case NATIVE -> parameter;
            case NATIVE_EARLY ->
                    parameter.startsWith(DECODER)
                            ? "language_model.model." + parameter.substring(DECODER.length())
                            : parameter.startsWith(HEAD)
                                    ? "language_model." + parameter
                                    : parameter.substring("model.".length());
            case REMOTE_CODE -> {
                if (parameter.startsWith(TOWER)) {
                    yield "vision_model." + internVit(parameter.substring(TOWER.length()));
                }
                if (parameter.startsWith(PROJECTOR)) {
                    yield "mlp1."
                            + parameter
                                    .substring(PROJECTOR.length())
                                    .replace("layer_norm.", "0.")
                                    .replace("linear_1.", "1.")
                                    .replace("linear_2.", "3.");
                }
                yield "language_model." + TEXT.storedName(parameter);
            }
            case TEXT ->
                    parameter.startsWith(DECODER)
                            ? "model." + parameter.substring(DECODER.length())
                            : parameter;
            case VISION ->
                    parameter.startsWith(TOWER)
                            ? internVit(parameter.substring(TOWER.length()))
                            : parameter;
        };
    }

    /// InternViT's own name for what is under the native vision tower.
    private static String internVit(String name) {
        return name.replace("embeddings.cls_token", "embeddings.class_embedding")
                .replace("embeddings.position_embeddings", "embeddings.position_embedding")
                .replace("patch_embeddings.projection.", "patch_embedding.")
                .replace("encoder.layer.", "encoder.layers.")
                .replaceFirst("attention\\.[qkv]_proj\\.", "attn.qkv.")
                .replace("attention.projection_layer.", "attn.proj.")
                .replace("attention.", "attn.")
                .replace("layernorm_before.", "norm1.")
                .replace("layernorm_after.", "norm2.")
                .replace("lambda_1", "ls1")
                .replace("lambda_2", "ls2");
    }

    /// The spelling that [#storedName] gives, of a name in any spelling that this layout's files
    /// use.
    public String canonicalName(String stored) {
        return switch (this) {
            case NATIVE, NATIVE_EARLY -> canonicalNative(stored);
            case TEXT ->
                    stored.startsWith("layers.")
                                    || stored.startsWith("embed_tokens.")
                                    || stored.startsWith("norm.")
                            ? "model." + stored
                            : stored;
            case REMOTE_CODE, VISION -> stored;
        };
    }

    private static String canonicalNative(String stored) {
        String name = stored.startsWith("model.") ? stored.substring("model.".length()) : stored;
        if (name.startsWith("language_model.")) {
            String inner = name.substring("language_model.".length());
            if (inner.startsWith(HEAD)) {
                return inner;
            }
            return DECODER
                    + (inner.startsWith("model.") ? inner.substring("model.".length()) : inner);
        }
        if (name.startsWith("vision_tower.") || name.startsWith("multi_modal_projector.")) {
            return "model." + name;
        }
        // A vision tower saved by itself.
        if (name.startsWith("embeddings.") || name.startsWith("encoder.")) {
            return TOWER + name;
        }
        return stored;
    }

    /// Whether a name is none of a model's, and is passed over: left by an experiment of the
    /// model's authors, or a table that is computed.
    static boolean isStray(String stored) {
        int dot = stored.indexOf('.');
        String first = dot < 0 ? stored : stored.substring(0, dot);
        return STRAYS.contains(first)
                || first.startsWith("track_embed")
                || stored.endsWith(".rotary_emb.inv_freq");
    }
}
