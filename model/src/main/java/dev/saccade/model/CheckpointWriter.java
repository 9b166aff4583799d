package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.AtomicFiles;
import dev.saccade.tensor.ShardedSafetensors;
import dev.saccade.tensor.TensorContent;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Function;
import java.util.stream.Stream;

/// Writes config.json and the weights of a checkpoint folder.
final class CheckpointWriter {
    private static final Map<String, String> METADATA = Map.of("format", "pt");

    private CheckpointWriter() {}

    /// Writes a checkpoint. All files are complete beside their places before the first appears;
    /// the weights come first, config.json last. Then weight files of an earlier checkpoint in the
    /// folder that are none of this one are removed.
    ///
    /// @param dtype the weights' type, as config.json names it
    /// @param content of a parameter, by its native name
    static void write(
            Path folder,
            VisionLanguageConfig config,
            String dtype,
            SaveOptions options,
            Function<String, TensorContent> content) {
        CheckpointLayout layout =
                options.layout() == null ? config.defaultLayout() : options.layout();
        String json = ConfigText.of(config, layout, dtype);
        SequencedMap<String, TensorContent> tensors = new LinkedHashMap<>();
        for (CheckpointLayout.Stored stored : layout.tensors(config.parameters())) {
            List<TensorContent> parts =
                    stored.parts().stream().map(part -> content.apply(part.name())).toList();
            tensors.put(stored.name(), TensorContent.stacked(parts));
        }
        makeFolder(folder);
        SequencedMap<Path, AtomicFiles.Content> weights =
                ShardedSafetensors.files(folder, METADATA, tensors, options.shardBytes());
        weights.put(
                folder.resolve(Checkpoint.CONFIG),
                (OutputStream out) -> out.write(json.getBytes(StandardCharsets.UTF_8)));
        AtomicFiles.writeAll(weights);
        removeOthers(folder, weights);
    }

    private static void makeFolder(Path folder) {
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw new InputException(
                    folder.toString(),
                    "the folder can't be made (" + e.getMessage() + ")",
                    "choose another folder or free the place",
                    e);
        }
    }

    private static void removeOthers(Path folder, Map<Path, AtomicFiles.Content> written) {
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : files.toList()) {
                String name = String.valueOf(file.getFileName());
                boolean weights =
                        name.equals(ShardedSafetensors.SINGLE)
                                || name.equals(ShardedSafetensors.INDEX)
                                || name.matches("model-\\d{5}-of-\\d{5}\\.safetensors");
                if (weights && !written.containsKey(folder.resolve(name))) {
                    Files.delete(file);
                }
            }
        } catch (IOException | UncheckedIOException e) {
            throw new InputException(
                    folder.toString(),
                    "weight files of an earlier checkpoint can't be removed ("
                            + e.getMessage()
                            + ")",
                    "remove them, or choose another folder",
                    e);
        }
    }
}
