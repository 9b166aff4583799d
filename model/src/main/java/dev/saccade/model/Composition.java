package dev.saccade.model;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Shape;
import dev.saccade.tensor.TensorContent;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// A vision-language model put together from parts: a vision tower, a language model, and a
/// connector that is new or another model's. It is how a model that reasons in text is given eyes
/// (Skywork-R1V, 2504.05599). Weights are copied byte by byte from file to file, whatever their
/// size and type; no device is needed.
///
/// @param vision a folder whose vision tower is taken
/// @param text a folder whose language model is taken
/// @param connector a folder whose connector is taken, of a model with the same widths; null for a
///   new one
/// @param seed of a new connector
/// @param imageToken the token that stands for a visual token; where none is given, the one that
///   the tokenizer beside the language model has, or else that of the other parts' models
/// @param tokenizer a folder whose tokenizer is taken along; null for the first of the parts' that
///   has the image token
public record Composition(
        Path vision,
        Path text,
        @Nullable Path connector,
        long seed,
        OptionalInt imageToken,
        @Nullable Path tokenizer) {
    private static final List<String> TOKENIZER_FILES =
            List.of(
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "vocab.json",
                    "merges.txt",
                    "added_tokens.json",
                    "special_tokens_map.json",
                    "chat_template.jinja",
                    "chat_template.json");

    /// Writes the model as a checkpoint into a new folder, which appears whole or not at all.
    ///
    /// @param progress hears of bytes written
    /// @return the model's configuration
    /// @throws InputException naming the folder when a part can't be used, the parts don't fit
    ///   together, or the folder can't be made
    public VisionLanguageConfig writeTo(Path folder, SaveOptions options, LoadProgress progress) {
        requireNew(folder);
        try (Checkpoint tower = Checkpoint.open(vision);
                Checkpoint decoder = Checkpoint.open(text);
                Checkpoint bridge = Checkpoint.open(connector == null ? vision : connector)) {
            VisionLanguageConfig config = config(tower, decoder);
            DType type = type(decoder);
            Map<String, TensorContent> contents = new HashMap<>();
            try (HostDevice device = HostDevice.open(1);
                    Fresh fresh = new Fresh(new ArrayList<>())) {
                if (connector != null) {
                    requireWidths(connector, bridge, config);
                }
                for (ParameterSpecification parameter : config.parameters()) {
                    String name = parameter.name();
                    contents.put(
                            name,
                            switch (parameter.group()) {
                                case VISION -> tower.content(name);
                                case LANGUAGE -> decoder.content(name);
                                case CONNECTOR ->
                                        connector == null
                                                ? fresh.make(parameter, device, type, seed)
                                                : bridge.content(name);
                            });
                }
                write(folder, config, dtypeLabel(type), options, new Counter(contents, progress));
            }
            return config;
        }
    }

    private static void requireNew(Path folder) {
        try (Stream<Path> files = Files.exists(folder) ? Files.list(folder) : Stream.empty()) {
            if (files.findAny().isPresent()) {
                throw new InputException(
                        folder.toString(), "is there already", "choose a new folder");
            }
        } catch (IOException e) {
            throw new InputException(
                    folder.toString(), "is no folder", "choose the name of a new folder", e);
        }
    }

    private VisionLanguageConfig config(Checkpoint tower, Checkpoint decoder) {
        VisionConfig visionConfig = tower.config().vision();
        if (visionConfig == null) {
            throw new InputException(
                    vision.toString(), "has no vision tower", "give the folder of one");
        }
        LanguageConfig textConfig = decoder.config().text();
        if (textConfig == null) {
            throw new InputException(
                    text.toString(), "has no language model", "give the folder of one");
        }
        int token = findImageToken(tower, decoder);
        if (token < 0 || token >= textConfig.vocabSize()) {
            throw new InputException(
                    text.toString(),
                    token < 0
                            ? "no part has an image token (<IMG_CONTEXT>)"
                            : "the image token %d is outside its vocabulary of %d"
                                    .formatted(token, textConfig.vocabSize()),
                    "give the id of a token that it doesn't use");
        }
        return new VisionLanguageConfig(
                visionConfig, textConfig, token, 0.5, decoder.config().suppressTokens());
    }

    private int findImageToken(Checkpoint tower, Checkpoint decoder) {
        if (imageToken.isPresent()) {
            return imageToken.getAsInt();
        }
        for (Path folder : tokenizer == null ? List.of(text) : List.of(tokenizer, text)) {
            OptionalInt found = ImageToken.inFolder(folder);
            if (found.isPresent()) {
                return found.getAsInt();
            }
        }
        int own = decoder.config().imageTokenId();
        if (own >= 0) {
            return own;
        }
        return connector == null
                ? tower.config().imageTokenId()
                : CheckpointConfig.read(connector.resolve(Checkpoint.CONFIG)).imageTokenId();
    }

    private static void requireWidths(Path folder, Checkpoint bridge, VisionLanguageConfig config) {
        VisionConfig vision = bridge.config().vision();
        LanguageConfig text = bridge.config().text();
        if (vision == null || text == null) {
            throw new InputException(
                    folder.toString(),
                    "has no connector",
                    "give a vision-language model, or leave it out for a new connector");
        }
        int visionWidth = config.vision().hiddenSize();
        int textWidth = config.text().hiddenSize();
        if (vision.hiddenSize() != visionWidth || text.hiddenSize() != textWidth) {
            throw new InputException(
                    folder.toString(),
                    "its connector leads from width %d to %d, these parts need %d to %d"
                            .formatted(
                                    vision.hiddenSize(), text.hiddenSize(), visionWidth, textWidth),
                    "give another model's, or leave it out for a new connector");
        }
    }

    /// The type of the language model's first weight: that of most of the bytes.
    private static DType type(Checkpoint decoder) {
        String dtype = decoder.content("model.language_model.embed_tokens.weight").dtype();
        return switch (dtype) {
            case "BF16" -> DType.BF16;
            case "F16" -> DType.F16;
            default -> DType.F32;
        };
    }

    private static String dtypeLabel(DType type) {
        return switch (type) {
            case BF16 -> "bfloat16";
            case F16 -> "float16";
            default -> "float32";
        };
    }

    /// A new connector's parameters, which have memory until they are written.
    private record Fresh(List<Parameter> parameters) implements AutoCloseable {
        TensorContent make(
                ParameterSpecification specification, HostDevice device, DType type, long seed) {
            Shape shape = specification.shape();
            Parameter parameter =
                    new Parameter(
                            specification.name(),
                            ParameterGroup.CONNECTOR,
                            Kernels.of(device),
                            type,
                            shape.dims());
            parameters.add(parameter);
            specification.initial().fill(parameter, seed);
            return TensorContent.of(parameter.value());
        }

        @Override
        public void close() {
            parameters.forEach(Parameter::close);
        }
    }

    /// Counts what has been written.
    private static final class Counter {
        private final Map<String, TensorContent> contents;
        private final LoadProgress progress;
        private final long total;
        private long done;

        Counter(Map<String, TensorContent> contents, LoadProgress progress) {
            this.contents = contents;
            this.progress = progress;
            this.total = contents.values().stream().mapToLong(TensorContent::bytes).sum();
        }

        TensorContent content(String name) {
            TensorContent content = contents.get(name);
            if (content == null) {
                throw new IllegalArgumentException("no parameter " + name);
            }
            return new Counted(content, this);
        }

        void wrote(long bytes) {
            done += bytes;
            progress.loaded(done, total);
        }
    }

    private record Counted(TensorContent content, Counter counter) implements TensorContent {
        @Override
        public String dtype() {
            return content.dtype();
        }

        @Override
        public Shape shape() {
            return content.shape();
        }

        @Override
        public long bytes() {
            return content.bytes();
        }

        @Override
        public void writeTo(OutputStream out) throws IOException {
            content.writeTo(out);
            counter.wrote(content.bytes());
        }
    }

    private void write(
            Path folder,
            VisionLanguageConfig config,
            String dtype,
            SaveOptions options,
            Counter counter) {
        Path target = folder.toAbsolutePath();
        Path temporary =
                target.resolveSibling(
                        ".%s.%d.tmp"
                                .formatted(target.getFileName(), ProcessHandle.current().pid()));
        try {
            CheckpointWriter.write(temporary, config, dtype, options, counter::content);
            copyCompanions(config, temporary);
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new InputException(
                    folder.toString(),
                    "can't be written (" + e.getMessage() + ")",
                    "choose another place, then run it again",
                    e);
        } finally {
            remove(temporary);
        }
    }

    private void copyCompanions(VisionLanguageConfig config, Path target) throws IOException {
        Path tokens = tokenizerFolder(config);
        for (String name : TOKENIZER_FILES) {
            copy(tokens.resolve(name), target);
        }
        copy(text.resolve("generation_config.json"), target);
        copy(vision.resolve("preprocessor_config.json"), target);
    }

    private Path tokenizerFolder(VisionLanguageConfig config) {
        if (tokenizer != null) {
            return tokenizer;
        }
        for (Path folder :
                connector == null ? List.of(text, vision) : List.of(text, connector, vision)) {
            OptionalInt token = ImageToken.inFolder(folder);
            if (token.isPresent() && token.getAsInt() == config.imageTokenId()) {
                return folder;
            }
        }
        return text;
    }

    private static void copy(Path file, Path folder) throws IOException {
        if (Files.isRegularFile(file)) {
            Files.copy(file, folder.resolve(file.getFileName()));
        }
    }

    private static void remove(Path folder) {
        if (!Files.exists(folder)) {
            return;
        }
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
            Files.delete(folder);
        } catch (IOException | UncheckedIOException _) {
            // The failure that led here is the one to report.
        }
    }
}
