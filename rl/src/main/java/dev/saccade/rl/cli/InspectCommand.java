package dev.saccade.rl.cli;

import dev.saccade.model.Checkpoint;
import dev.saccade.model.CheckpointConfig;
import dev.saccade.model.ComputeType;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.MemoryNeeds;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.model.RopeScaling;
import dev.saccade.model.VisionConfig;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.SafetensorsReader;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/// What a checkpoint holds, and the memory it needs. The configuration is enough; weights that are
/// there are checked against it.
@Command(
        name = "inspect",
        description =
                "Show what a checkpoint holds and the memory it needs; its config.json is enough.")
final class InspectCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Parameters(paramLabel = "DIR", description = "The checkpoint's folder.")
    Path folder = Path.of("");

    @Option(names = "--tensors", description = "List every tensor.")
    boolean tensors;

    @Option(names = "--json", description = "Print JSON.")
    boolean json;

    /// What the weight files hold.
    private record Weights(
            int files,
            int tensors,
            long bytes,
            Map<String, Long> parametersByType,
            Map<String, String> listed) {}

    /// A device and type to tell the memory of.
    private record Target(String name, ComputeType type) {}

    private static final Target[] TARGETS = {
        new Target("cpu float32", ComputeType.FLOAT32),
        new Target("cuda bfloat16", ComputeType.BFLOAT16),
        new Target("cuda float32", ComputeType.FLOAT32)
    };

    @Override
    public Integer call() {
        CheckpointConfig config = CheckpointConfig.read(folder.resolve(Checkpoint.CONFIG));
        Weights weights = tensors || Checkpoint.hasWeights(folder) ? weights() : null;
        VisionLanguageConfig model = config.text() == null ? null : config.model();
        if (json) {
            System.out.println(
                    JsonMapper.builder().build().writeValueAsString(facts(config, model, weights)));
        } else {
            print(System.out, config, model, weights);
        }
        return 0;
    }

    private Weights weights() {
        long bytes = 0;
        Map<String, Long> types = new TreeMap<>();
        Map<String, String> listed = new LinkedHashMap<>();
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            for (Map.Entry<String, SafetensorsReader.Entry> entry :
                    checkpoint.entries().entrySet()) {
                SafetensorsReader.Entry tensor = entry.getValue();
                listed.put(entry.getKey(), tensor.dtype() + " " + tensor.shape());
                bytes += tensor.bytes();
                types.merge(tensor.dtype(), tensor.shape().elements(), Long::sum);
            }
        }
        return new Weights(
                Checkpoint.weightFiles(folder).size(), listed.size(), bytes, types, listed);
    }

    private static Map<String, Long> groups(CheckpointConfig config) {
        Map<String, Long> groups = new LinkedHashMap<>();
        for (ParameterSpecification parameter : config.parameters()) {
            groups.merge(
                    parameter.group().name().toLowerCase(Locale.ROOT),
                    parameter.shape().elements(),
                    Long::sum);
        }
        return groups;
    }

    private static long sum(Map<String, Long> groups) {
        return groups.values().stream().mapToLong(Long::longValue).sum();
    }

    private static Map<String, MemoryNeeds> needs(VisionLanguageConfig model, ComputeType type) {
        Map<String, MemoryNeeds> needs = new LinkedHashMap<>();
        needs.put("inference", MemoryNeeds.inference(model, type));
        needs.put("sft", MemoryNeeds.supervised(model, type));
        needs.put("rl", MemoryNeeds.reinforcement(model, type));
        if (model.parameterCount(ParameterGroup.CONNECTOR) > 0) {
            needs.put("connector_only", MemoryNeeds.connectorOnly(model, type));
        }
        return needs;
    }

    private Map<String, Object> facts(
            CheckpointConfig config,
            @Nullable VisionLanguageConfig model,
            @Nullable Weights weights) {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("family", family(config));
        facts.put("architecture", config.architecture());
        facts.put("layout", config.layout().label());
        facts.put("dtype", config.dtype());
        if (config.vision() != null) {
            facts.put("vision", config.vision());
        }
        if (config.text() != null) {
            facts.put("text", config.text());
        }
        if (model != null && model.hasVision()) {
            facts.put("image_token_id", model.imageTokenId());
            facts.put("tokens_per_tile", model.tokensPerTile());
        }
        Map<String, Long> groups = groups(config);
        facts.put("parameters", sum(groups));
        facts.put("parameters_by_group", groups);
        if (weights != null) {
            Map<String, Object> stored = new LinkedHashMap<>();
            stored.put("files", weights.files());
            stored.put("tensors", weights.tensors());
            stored.put("bytes", weights.bytes());
            stored.put("parameters_by_type", weights.parametersByType());
            if (tensors) {
                stored.put("tensor_list", weights.listed());
            }
            facts.put("weights", stored);
        }
        if (model != null) {
            Map<String, Object> memory = new LinkedHashMap<>();
            for (Target target : TARGETS) {
                Map<String, Object> uses = new LinkedHashMap<>();
                uses.put(
                        "cache_bytes_per_token",
                        KvCache.bytesPerToken(model.text(), target.type().dtype()));
                needs(model, target.type()).forEach((use, needs) -> uses.put(use, tree(needs)));
                memory.put(target.name(), uses);
            }
            facts.put("memory", memory);
        }
        return facts;
    }

    private static Map<String, Long> tree(MemoryNeeds needs) {
        Map<String, Long> tree = new LinkedHashMap<>();
        tree.put("weights", needs.weights());
        tree.put("gradients", needs.gradients());
        tree.put("optimizer", needs.optimizer());
        tree.put("cache", needs.cache());
        tree.put("total", needs.total());
        return tree;
    }

    /// As `InternViT 5.54B + connector 91.8M + Qwen2 32.76B`.
    private static String family(CheckpointConfig config) {
        StringBuilder text = new StringBuilder();
        groups(config)
                .forEach((group, count) -> {
                    String name =
                            switch (group) {
                                case "vision" -> "InternViT";
                                case "language" -> decoder(config.text());
                                default -> group;
                            };
                    text.append(text.isEmpty() ? "" : " + ")
                            .append(name)
                            .append(' ')
                            .append(count(count));
                });
        return text.toString();
    }

    private static String decoder(@Nullable LanguageConfig text) {
        return text == null || text.attentionBias() ? "Qwen2" : "Llama";
    }

    private static String scaling(LanguageConfig text) {
        return switch (text.ropeScaling()) {
            case RopeScaling.None() -> "not scaled";
            case RopeScaling.Dynamic(double factor) ->
                    "dynamic by " + factor + ": not scaled up to the longest sequence";
            case RopeScaling.ConstantBase(double factor) ->
                    "dynamic by %s with the constant base %.0f".formatted(factor, text.ropeBase());
        };
    }

    private static String count(long count) {
        return count >= 1_000_000_000
                ? String.format(Locale.ROOT, "%.2fB", count / 1e9)
                : count >= 1_000_000
                        ? String.format(Locale.ROOT, "%.1fM", count / 1e6)
                        : String.format(Locale.ROOT, "%.1fK", count / 1e3);
    }

    /// Decimal gigabytes, or megabytes for a small model.
    private static String size(long bytes) {
        return bytes >= 1_000_000_000 || bytes == 0
                ? String.format(Locale.ROOT, "%.2f GB", bytes / 1e9)
                : String.format(Locale.ROOT, "%.2f MB", bytes / 1e6);
    }

    private void print(
            PrintStream out,
            CheckpointConfig config,
            @Nullable VisionLanguageConfig model,
            @Nullable Weights weights) {
        line(out, "family", family(config));
        line(
                out,
                "layout",
                config.layout().label() + " (" + config.architecture() + "), " + config.dtype());
        VisionConfig vision = config.vision();
        if (vision != null) {
            line(
                    out,
                    "vision",
                    "%d wide, %d layers, %d heads, MLP %d, %s%s; %d pixels, patches of %d"
                            .formatted(
                                    vision.hiddenSize(),
                                    vision.numHiddenLayers(),
                                    vision.numAttentionHeads(),
                                    vision.intermediateSize(),
                                    vision.normType().label(),
                                    vision.useQkNorm() ? ", norm on queries and keys" : "",
                                    vision.imageSize(),
                                    vision.patchSize()));
        }
        LanguageConfig text = config.text();
        if (text != null) {
            line(
                    out,
                    "text",
                    "%d wide, %d layers, %d heads (%d kv) of %d, MLP %d, vocabulary %d%s; %d tokens"
                            .formatted(
                                    text.hiddenSize(),
                                    text.numHiddenLayers(),
                                    text.numAttentionHeads(),
                                    text.numKeyValueHeads(),
                                    text.headDim(),
                                    text.intermediateSize(),
                                    text.vocabSize(),
                                    text.tieWordEmbeddings() ? " (tied)" : "",
                                    text.maxPositionEmbeddings()));
            line(out, "rope", "base %.0f, %s".formatted(text.ropeTheta(), scaling(text)));
        }
        if (model != null && model.hasVision()) {
            line(
                    out,
                    "images",
                    "%d tokens a tile, in place of token %d"
                            .formatted(model.tokensPerTile(), model.imageTokenId()));
        }
        Map<String, Long> groups = groups(config);
        line(out, "parameters", sum(groups) + " " + groups);
        line(
                out,
                "weights",
                weights == null
                        ? "no weight files in the folder"
                        : "%s in %d tensors, %d files; parameters by type %s"
                                .formatted(
                                        size(weights.bytes()),
                                        weights.tensors(),
                                        weights.files(),
                                        weights.parametersByType()));
        if (model != null) {
            printMemory(out, model);
        }
        if (tensors && weights != null) {
            weights.listed().forEach((name, value) -> out.printf("  %-70s %s%n", name, value));
        }
    }

    private static void line(PrintStream out, String name, String value) {
        out.printf("%-12s %s%n", name, value);
    }

    private static void printMemory(PrintStream out, VisionLanguageConfig model) {
        out.println();
        out.println("device memory: weights + gradients + optimizer + cache (activations on top)");
        for (Target target : TARGETS) {
            out.printf(
                    "  %s, %d bytes of cache a token%n",
                    target.name(), KvCache.bytesPerToken(model.text(), target.type().dtype()));
            needs(model, target.type())
                    .forEach((use, needs) ->
                            out.printf(
                                    "    %-15s %12s = %s + %s + %s + %s%n",
                                    use.replace('_', ' '),
                                    size(needs.total()),
                                    size(needs.weights()),
                                    size(needs.gradients()),
                                    size(needs.optimizer()),
                                    size(needs.cache())));
        }
    }
}
