package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.AtomicFiles;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The weight files of a checkpoint folder, opened and checked against a configuration.
final class Checkpoint implements AutoCloseable {
    private static final String SINGLE = "model.safetensors";
    private static final String INDEX = "model.safetensors.index.json";

    /// How many faults an error names before it counts the others.
    private static final int NAMED_FAULTS = 8;

    private final List<SafetensorsReader> readers = new ArrayList<>();
    private final Map<String, Stored> tensors = new LinkedHashMap<>();

    private record Stored(SafetensorsReader reader, String name) {}

    private Checkpoint() {}

    /// Opens the weights of `folder` and checks that they are those of `config`.
    static Checkpoint open(Path folder, VisionLanguageConfig config) {
        Checkpoint checkpoint = new Checkpoint();
        try {
            boolean single = Files.exists(folder.resolve(SINGLE));
            Path named = folder.resolve(single ? SINGLE : INDEX);
            List<Path> files = single ? List.of(named) : shards(folder);
            for (Path file : files) {
                SafetensorsReader reader = SafetensorsReader.open(file);
                checkpoint.readers.add(reader);
                for (String name : reader.entries().keySet()) {
                    Stored stored = new Stored(reader, name);
                    if (checkpoint.tensors.put(nativeName(name), stored) != null) {
                        throw new InputException(
                                file.toString(),
                                "holds " + name + ", which another spelling or shard holds too",
                                "download the checkpoint again");
                    }
                }
            }
            checkpoint.check(named, config);
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    private static List<Path> shards(Path folder) {
        Path index = folder.resolve(INDEX);
        if (!Files.exists(index)) {
            throw new InputException(
                    folder.toString(),
                    "there is neither " + SINGLE + " nor " + INDEX,
                    "give the folder of a checkpoint");
        }
        JsonNode weightMap;
        try {
            weightMap =
                    JsonMapper.shared()
                            .readTree(Files.readString(index, StandardCharsets.UTF_8))
                            .path("weight_map");
        } catch (IOException | JacksonException e) {
            throw new InputException(
                    index.toString(), "can't be read as JSON", "download the checkpoint again", e);
        }
        Set<String> names = new TreeSet<>();
        for (Map.Entry<String, JsonNode> entry : weightMap.properties()) {
            String name = entry.getValue().isString() ? entry.getValue().stringValue() : "";
            // A shard lies in the folder itself: a path that leads elsewhere is not followed.
            if (!name.matches("[\\w.-]+\\.safetensors")) {
                throw new InputException(
                        index.toString(),
                        "weight_map names no file for " + entry.getKey(),
                        "download the checkpoint again");
            }
            names.add(name);
        }
        if (names.isEmpty()) {
            throw new InputException(
                    index.toString(), "weight_map is missing", "download the checkpoint again");
        }
        return names.stream().map(folder::resolve).toList();
    }

    /// A tensor's name in the native spelling; files written by early releases put the parts at the
    /// top and the head inside the decoder.
    private static String nativeName(String name) {
        if (name.startsWith("language_model.model.")) {
            return "model.language_model." + name.substring("language_model.model.".length());
        }
        if (name.startsWith("language_model.lm_head.")) {
            return name.substring("language_model.".length());
        }
        if (name.startsWith("vision_tower.") || name.startsWith("multi_modal_projector.")) {
            return "model." + name;
        }
        return name;
    }

    private void check(Path file, VisionLanguageConfig config) {
        List<String> faults = new ArrayList<>();
        Set<String> unexpected = new LinkedHashSet<>(tensors.keySet());
        for (ParameterSpecification specification : config.parameters()) {
            String name = specification.name();
            Stored stored = tensors.get(name);
            unexpected.remove(name);
            if (stored == null) {
                faults.add("missing " + name);
                continue;
            }
            SafetensorsReader.Entry entry = stored.reader().entries().get(stored.name());
            if (entry != null && !entry.shape().equals(specification.shape())) {
                faults.add(
                        "%s is %s, expected %s"
                                .formatted(name, entry.shape(), specification.shape()));
            }
        }
        if (config.text().tieWordEmbeddings()) {
            unexpected.remove("lm_head.weight"); // a copy of the embedding
        }
        unexpected.forEach(name -> faults.add("unexpected " + name));
        if (!faults.isEmpty()) {
            String named =
                    String.join(", ", faults.subList(0, Math.min(NAMED_FAULTS, faults.size())));
            int more = faults.size() - NAMED_FAULTS;
            throw new InputException(
                    file.toString(),
                    "does not fit config.json: "
                            + named
                            + (more > 0 ? " and " + more + " more" : ""),
                    "use the config.json that belongs to these weights");
        }
    }

    /// Reads a tensor, converting it to the target's type.
    void read(String name, Tensor target) {
        Stored stored = tensors.get(name);
        if (stored == null) {
            throw new IllegalArgumentException("no tensor " + name);
        }
        stored.reader().read(stored.name(), target);
    }

    static void write(
            Path folder, VisionLanguageConfig config, SequencedMap<String, Parameter> parameters) {
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw new InputException(
                    folder.toString(),
                    "the folder can't be made (" + e.getMessage() + ")",
                    "choose another folder or free the place",
                    e);
        }
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        parameters.forEach((name, parameter) -> tensors.put(name, parameter.value()));
        SafetensorsWriter.write(folder.resolve(SINGLE), Map.of("format", "pt"), tensors);
        AtomicFiles.write(
                folder.resolve("config.json"), config.toJson().getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void close() {
        readers.forEach(SafetensorsReader::close);
    }
}
