package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.ShardedSafetensors;
import dev.saccade.tensor.Tensor;
import dev.saccade.tensor.TensorContent;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A checkpoint folder, opened: its configuration, and its weight files, which hold that
/// configuration's tensors, no more and no less. The parameters it gives have their native names,
/// whatever the files call them.
public final class Checkpoint implements AutoCloseable {
    /// The configuration's file in a checkpoint folder.
    public static final String CONFIG = "config.json";

    private static final String AGAIN = "download the checkpoint again";
    private static final long MOST_INDEX_BYTES = 100_000_000;

    private final CheckpointConfig config;
    private final List<SafetensorsReader> readers = new ArrayList<>();

    /// The tensors by the layout's own spelling of their names.
    private final Map<String, Named> tensors = new LinkedHashMap<>();

    /// Where each parameter is, by its native name.
    private final Map<String, Place> places = new LinkedHashMap<>();

    private record Named(SafetensorsReader reader, String name, SafetensorsReader.Entry entry) {}

    /// The rows of a tensor that are a parameter.
    ///
    /// @param whole whether that is all of them
    private record Place(
            Named tensor, boolean whole, long fromRow, ParameterSpecification parameter) {
        void read(Tensor target) {
            if (whole) {
                tensor.reader().read(tensor.name(), target);
            } else {
                tensor.reader().readRows(tensor.name(), fromRow, target);
            }
        }

        TensorContent content() {
            return whole
                    ? tensor.reader().content(tensor.name())
                    : tensor.reader().content(tensor.name(), fromRow, parameter.shape().dim(0));
        }

        long bytes() {
            SafetensorsReader.Entry entry = tensor.entry();
            long elements = entry.shape().elements();
            return elements == 0 ? 0 : entry.bytes() / elements * parameter.shape().elements();
        }
    }

    private Checkpoint(CheckpointConfig config) {
        this.config = config;
    }

    /// Opens a checkpoint folder and checks that its weights are those of its configuration.
    /// Nothing but the files' headers is read.
    ///
    /// @throws InputException naming the file and what is wrong; for tensors that are missing,
    ///   unexpected, of another shape or of a type that isn't loaded, all of them at once
    public static Checkpoint open(Path folder) {
        return open(folder, CheckpointConfig.read(folder.resolve(CONFIG)));
    }

    static Checkpoint open(Path folder, CheckpointConfig config) {
        Checkpoint checkpoint = new Checkpoint(config);
        try {
            boolean single = Files.exists(folder.resolve(ShardedSafetensors.SINGLE));
            Path named =
                    folder.resolve(single ? ShardedSafetensors.SINGLE : ShardedSafetensors.INDEX);
            for (Path file : single ? List.of(named) : shards(folder)) {
                checkpoint.add(SafetensorsReader.open(file));
            }
            checkpoint.locate(named);
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// Whether a folder has weights, or is a configuration alone.
    public static boolean hasWeights(Path folder) {
        return Files.exists(folder.resolve(ShardedSafetensors.SINGLE))
                || Files.exists(folder.resolve(ShardedSafetensors.INDEX));
    }

    /// The files of a checkpoint folder's weights, sorted by name.
    ///
    /// @throws InputException when there are none, or the index names one that is missing or lies
    ///   elsewhere
    public static List<Path> weightFiles(Path folder) {
        Path single = folder.resolve(ShardedSafetensors.SINGLE);
        return Files.exists(single) ? List.of(single) : shards(folder);
    }

    private void add(SafetensorsReader reader) {
        readers.add(reader);
        reader.entries()
                .forEach((name, entry) -> {
                    if (CheckpointLayout.isStray(name)) {
                        return;
                    }
                    String canonical = config.layout().canonicalName(name);
                    if (tensors.put(canonical, new Named(reader, name, entry)) != null) {
                        throw new InputException(
                                reader.file().toString(),
                                "holds " + name + ", which another spelling or shard holds too",
                                AGAIN);
                    }
                });
    }

    private static List<Path> shards(Path folder) {
        Path index = folder.resolve(ShardedSafetensors.INDEX);
        if (!Files.exists(index)) {
            throw new InputException(
                    folder.toString(),
                    "there is neither "
                            + ShardedSafetensors.SINGLE
                            + " nor "
                            + ShardedSafetensors.INDEX,
                    "give the folder of a checkpoint");
        }
        JsonNode weightMap;
        try {
            if (Files.size(index) > MOST_INDEX_BYTES) {
                throw new InputException(index.toString(), "is too large for an index", AGAIN);
            }
            weightMap =
                    JsonMapper.shared()
                            .readTree(Files.readString(index, StandardCharsets.UTF_8))
                            .path("weight_map");
        } catch (IOException | JacksonException e) {
            throw new InputException(index.toString(), "can't be read as JSON", AGAIN, e);
        }
        Set<String> names = new TreeSet<>();
        for (Map.Entry<String, JsonNode> entry : weightMap.properties()) {
            String name = entry.getValue().isString() ? entry.getValue().stringValue() : "";
            // A shard lies in the folder itself: a path that leads elsewhere is not followed.
            if (!name.matches("[\\w.-]{1,200}\\.safetensors")) {
                throw new InputException(
                        index.toString(),
                        "weight_map names no file for "
                                + entry.getKey()
                                        .substring(0, Math.min(100, entry.getKey().length())),
                        AGAIN);
            }
            names.add(name);
        }
        if (names.isEmpty()) {
            throw new InputException(index.toString(), "weight_map is missing", AGAIN);
        }
        List<String> missing =
                names.stream().filter(name -> !Files.exists(folder.resolve(name))).toList();
        if (!missing.isEmpty()) {
            throw new InputException(
                    index.toString(),
                    "names files that aren't there: " + String.join(", ", missing),
                    "download them too");
        }
        return names.stream().map(folder::resolve).toList();
    }

    /// Finds every parameter in the files.
    private void locate(Path file) {
        FaultList misfits = new FaultList();
        FaultList types = new FaultList();
        Set<String> unexpected = new TreeSet<>(tensors.keySet());
        for (CheckpointLayout.Stored stored : config.layout().tensors(config.parameters())) {
            Named named = tensors.get(stored.name());
            unexpected.remove(stored.name());
            if (named == null) {
                misfits.add("missing " + stored.name());
            } else if (!named.entry().shape().equals(stored.shape())) {
                misfits.add(
                        "%s is %s, expected %s"
                                .formatted(named.name(), named.entry().shape(), stored.shape()));
            } else if (!SafetensorsReader.isFloat(named.entry().dtype())) {
                types.add(named.name() + " is " + named.entry().dtype());
            } else {
                place(stored, named);
            }
        }
        LanguageConfig text = config.text();
        if (text != null && text.tieWordEmbeddings()) {
            unexpected.remove(config.layout().storedName("lm_head.weight")); // the embedding again
        }
        unexpected.forEach(name -> misfits.add("unexpected " + name));
        if (!misfits.isEmpty()) {
            throw new InputException(
                    file.toString(),
                    "does not fit config.json: " + misfits,
                    "use the config.json that belongs to these weights");
        }
        if (!types.isEmpty()) {
            throw new InputException(
                    file.toString(),
                    "has weights of types that aren't loaded: " + types,
                    "use the checkpoint in F32, F16 or BF16");
        }
    }

    private void place(CheckpointLayout.Stored stored, Named named) {
        long row = 0;
        for (ParameterSpecification part : stored.parts()) {
            places.put(part.name(), new Place(named, stored.parts().size() == 1, row, part));
            row += part.shape().rank() == 0 ? 1 : part.shape().dim(0);
        }
    }

    /// What config.json says.
    public CheckpointConfig config() {
        return config;
    }

    /// The tensors of the files by their names there, in the files' order.
    public Map<String, SafetensorsReader.Entry> entries() {
        Map<String, SafetensorsReader.Entry> entries = new LinkedHashMap<>();
        readers.forEach(reader -> entries.putAll(reader.entries()));
        return entries;
    }

    /// A parameter's bytes as they are in the file, for another file; valid until [#close()].
    ///
    /// @param parameter its native name
    /// @throws IllegalArgumentException when the checkpoint has no such parameter
    public TensorContent content(String parameter) {
        Place place = places.get(parameter);
        if (place == null) {
            throw new IllegalArgumentException("no parameter " + parameter);
        }
        return place.content();
    }

    /// Reads all parameters, in the order of the files' bytes, converting each to its type. A file
    /// is unmapped when all of it is read, so that no more than one of them is held in memory; this
    /// checkpoint can't be read from again.
    ///
    /// @param parameters by native name
    void readInto(Map<String, Parameter> parameters, LoadProgress progress) {
        Map<SafetensorsReader, List<Place>> byFile = new HashMap<>();
        long total = 0;
        for (Place place : places.values()) {
            byFile.computeIfAbsent(place.tensor().reader(), _ -> new ArrayList<>()).add(place);
            total += place.bytes();
        }
        long done = 0;
        for (SafetensorsReader reader : readers) {
            List<Place> places = new ArrayList<>(byFile.getOrDefault(reader, List.of()));
            places.sort(
                    Comparator.comparingLong((Place place) -> place.tensor().entry().offset())
                            .thenComparingLong(Place::fromRow));
            for (Place place : places) {
                Parameter parameter = parameters.get(place.parameter().name());
                if (parameter == null) {
                    throw new IllegalArgumentException("no " + place.parameter().name());
                }
                place.read(parameter.value());
                done += place.bytes();
                progress.loaded(done, total);
            }
            reader.close();
        }
    }

    @Override
    public void close() {
        readers.forEach(SafetensorsReader::close);
    }
}
