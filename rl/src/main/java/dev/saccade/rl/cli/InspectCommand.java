package dev.saccade.rl.cli;

import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.tensor.SafetensorsReader;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/// What a checkpoint holds.
@Command(
        name = "inspect",
        description = "Show what a checkpoint holds: its configuration, tensors and parameters.")
final class InspectCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Parameters(paramLabel = "DIR", description = "The checkpoint's folder.")
    Path folder = Path.of("");

    @Option(names = "--tensors", description = "List every tensor.")
    boolean tensors;

    @Option(names = "--json", description = "Print JSON.")
    boolean json;

    @Override
    public Integer call() {
        VisionLanguageConfig config = VisionLanguageConfig.read(folder.resolve("config.json"));
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("vision", config.vision());
        facts.put("text", config.text());
        facts.put("tokens_per_tile", config.tokensPerTile());
        Map<String, String> listed = new LinkedHashMap<>();
        Path weights = folder.resolve("model.safetensors");
        if (Files.exists(weights)) {
            long bytes = 0;
            long elements = 0;
            Map<String, Long> groups = new LinkedHashMap<>();
            try (SafetensorsReader reader = SafetensorsReader.open(weights)) {
                for (Map.Entry<String, SafetensorsReader.Entry> entry :
                        reader.entries().entrySet()) {
                    SafetensorsReader.Entry tensor = entry.getValue();
                    listed.put(entry.getKey(), tensor.dtype() + " " + tensor.shape());
                    bytes += tensor.bytes();
                    elements += tensor.shape().elements();
                    groups.merge(group(entry.getKey()), tensor.shape().elements(), Long::sum);
                }
            }
            facts.put("tensors", listed.size());
            facts.put("parameters", elements);
            facts.put("parameters_by_group", groups);
            facts.put("bytes", bytes);
        }
        PrintStream out = System.out;
        if (json) {
            if (tensors) {
                facts.put("tensor_list", listed);
            }
            out.println(JsonMapper.builder().build().writeValueAsString(facts));
        } else {
            facts.forEach((name, value) -> out.printf("%-20s %s%n", name, value));
            if (tensors) {
                listed.forEach((name, value) -> out.printf("  %-70s %s%n", name, value));
            }
        }
        return 0;
    }

    private static String group(String name) {
        if (name.contains("vision_tower")) {
            return "vision";
        }
        return name.contains("multi_modal_projector") ? "connector" : "language";
    }
}
