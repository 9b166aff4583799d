package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
    private static final VisionLanguageConfig CONFIG = SmallModels.config(NormType.LAYER_NORM);

    private final HostDevice device = HostDevice.open(1);
    private final Kernels kernels = Kernels.of(device);

    @TempDir private Path folder;

    @AfterEach
    void close() {
        device.close();
    }

    @ParameterizedTest
    @EnumSource
    void whatIsSavedLoadsBackBitForBit(NormType variant) throws IOException {
        VisionLanguageConfig config = SmallModels.config(variant);
        try (VisionLanguageModel model = SmallModels.random(config, kernels, Target.CPU_F32, 8)) {
            model.save(folder.resolve("a"));
            try (VisionLanguageModel loaded =
                    VisionLanguageModel.load(folder.resolve("a"), kernels)) {
                assertThat(loaded.config()).isEqualTo(config);
                assertSameWeights(loaded, model);
                loaded.save(folder.resolve("b"));
            }
        }
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            assertThat(Files.mismatch(folder.resolve("a", file), folder.resolve("b", file)))
                    .isEqualTo(-1);
        }
        try (var files = Files.list(folder.resolve("a"))) {
            assertThat(files.map(f -> f.getFileName().toString()))
                    .containsExactlyInAnyOrder("config.json", "model.safetensors");
        }
    }

    @Tag("device")
    @ParameterizedTest
    @EnumSource
    void weightsKeepTheirTypeAndAreReadInAnother(Target target) {
        Path saved = folder.resolve("typed");
        try (Buffers buffers = target.open();
                VisionLanguageModel model =
                        SmallModels.random(CONFIG, Kernels.of(buffers.device()), target, 8)) {
            model.save(saved);
            try (VisionLanguageModel again =
                            VisionLanguageModel.load(saved, model.kernels(), model.type());
                    VisionLanguageModel wide = VisionLanguageModel.load(saved, kernels)) {
                assertThat(wide.type()).isEqualTo(ComputeType.FLOAT32);
                assertSameWeights(again, model);
                assertSameWeights(wide, model);
            }
        }
        try (SafetensorsReader reader =
                SafetensorsReader.open(saved.resolve("model.safetensors"))) {
            assertThat(reader.entries().values())
                    .allMatch(entry -> entry.dtype().equals(target.dtype().name()));
        }
    }

    @Test
    void theCpuComputesInFloat32Only() {
        assertThatThrownBy(() ->
                        VisionLanguageModel.initialize(CONFIG, kernels, ComputeType.BFLOAT16, 1))
                .isInstanceOf(InputException.class)
                .hasMessage(
                        "bfloat16 on cpu: the CPU's kernels compute in float32 only;"
                                + " use float32, or a CUDA device");
    }

    @Test
    void theSameSeedGivesTheSameWeightsAndAnotherSeedOthers() {
        try (VisionLanguageModel first = VisionLanguageModel.initialize(CONFIG, kernels, 1);
                VisionLanguageModel same = VisionLanguageModel.initialize(CONFIG, kernels, 1);
                VisionLanguageModel other = VisionLanguageModel.initialize(CONFIG, kernels, 2)) {
            assertSameWeights(same, first);
            assertThat(other.head().value().toFloats())
                    .isNotEqualTo(first.head().value().toFloats());
        }
    }

    @Test
    void shardsInTheOlderSpellingAreRead() throws IOException {
        try (VisionLanguageModel model = SmallModels.random(CONFIG, kernels, Target.CPU_F32, 8)) {
            SequencedMap<String, Tensor> vision = new LinkedHashMap<>();
            SequencedMap<String, Tensor> rest = new LinkedHashMap<>();
            model.parametersByName()
                    .forEach((name, p) ->
                            (name.contains("vision") ? vision : rest)
                                    .put(olderSpelling(name), p.value()));
            SafetensorsWriter.write(folder.resolve("one.safetensors"), Map.of(), vision);
            SafetensorsWriter.write(folder.resolve("two.safetensors"), Map.of(), rest);
            Files.writeString(folder.resolve("config.json"), CONFIG.toJson());
            Files.writeString(
                    folder.resolve("model.safetensors.index.json"),
                    """
                    {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
                    """);
            try (VisionLanguageModel loaded = VisionLanguageModel.load(folder, kernels)) {
                assertSameWeights(loaded, model);
            }
        }
    }

    private static String olderSpelling(String name) {
        if (name.startsWith("lm_head.")) {
            return "language_model." + name;
        }
        return name.startsWith("model.language_model.")
                ? "language_model.model." + name.substring("model.language_model.".length())
                : name.substring("model.".length());
    }

    private static List<CheckpointLayout> modelLayouts() {
        return List.of(
                CheckpointLayout.NATIVE,
                CheckpointLayout.NATIVE_EARLY,
                CheckpointLayout.REMOTE_CODE);
    }

    /// Loaded, saved and loaded again: each tensor has the bytes that it had, in every layout and
    /// whatever the shards, and the layouts hold the same model.
    @ParameterizedTest
    @EnumSource
    void everyLayoutKeepsEveryByte(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        try (VisionLanguageModel model = SmallModels.random(config, kernels, Target.CPU_F32, 8)) {
            for (CheckpointLayout layout : modelLayouts()) {
                Path first = folder.resolve(layout.label());
                Path second = folder.resolve(layout.label() + "-again");
                model.save(first, SaveOptions.of(layout));
                try (VisionLanguageModel loaded = VisionLanguageModel.load(first, kernels)) {
                    assertThat(loaded.config()).isEqualTo(config);
                    assertSameWeights(loaded, model);
                    loaded.save(second, new SaveOptions(layout, 10_000));
                }
                assertSameTensors(first, second);
            }
        }
    }

    private static void assertSameTensors(Path expected, Path actual) {
        try (SafetensorsReader whole =
                SafetensorsReader.open(expected.resolve("model.safetensors"))) {
            Map<String, byte[]> bytes = new HashMap<>();
            try (var files = Files.list(actual)) {
                for (Path file :
                        files.filter(f -> f.toString().endsWith(".safetensors")).toList()) {
                    try (SafetensorsReader shard = SafetensorsReader.open(file)) {
                        shard.entries()
                                .keySet()
                                .forEach(name ->
                                        bytes.put(
                                                name,
                                                shard.bytes(name).toArray(ValueLayout.JAVA_BYTE)));
                    }
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            assertThat(bytes).containsOnlyKeys(whole.entries().keySet());
            bytes.forEach((name, value) ->
                    assertThat(value)
                            .as(name)
                            .isEqualTo(whole.bytes(name).toArray(ValueLayout.JAVA_BYTE)));
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aLanguageModelAloneIsSavedAndLoaded(boolean tied) throws IOException {
        LanguageConfig text =
                new LanguageConfig(23, 19, 21, 2, 6, 2, 10, 1e-6f, 1e4, 256, !tied, tied);
        VisionLanguageConfig config = VisionLanguageConfig.textOnly(text, List.of());
        try (VisionLanguageModel model = SmallModels.random(config, kernels, Target.CPU_F32, 8)) {
            model.save(folder);
            try (VisionLanguageModel loaded = VisionLanguageModel.load(folder, kernels)) {
                assertThat(loaded.config()).isEqualTo(config);
                assertSameWeights(loaded, model);
                assertThat(loaded.parameters(ParameterGroup.VISION)).isEmpty();
            }
            try (SafetensorsReader reader =
                    SafetensorsReader.open(folder.resolve("model.safetensors"))) {
                assertThat(reader.entries())
                        .containsKeys("model.embed_tokens.weight", "model.norm.weight");
                assertThat(reader.entries().containsKey("lm_head.weight")).isEqualTo(!tied);
            }
            // Some files repeat a tied head, or carry a table that is computed.
            SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
            model.parametersByName()
                    .forEach((name, p) ->
                            tensors.put(CheckpointLayout.TEXT.storedName(name), p.value()));
            tensors.put("lm_head.weight", model.head().value());
            tensors.put("model.layers.0.self_attn.rotary_emb.inv_freq", model.head().value());
            SafetensorsWriter.write(folder.resolve("model.safetensors"), Map.of(), tensors);
            try (VisionLanguageModel loaded = VisionLanguageModel.load(folder, kernels)) {
                assertSameWeights(loaded, model);
            }
            Prompt prompt = new Prompt(new int[] {1, 2, 3}, null);
            ReferenceModel reference = new ReferenceModel(config, ReferenceModel.weights(model));
            int[] completion = {4, 9, 1};
            ReferenceModel.Token[] exact = reference.tokens(prompt, completion, 1);
            try (Tape tape = Tape.inference(kernels)) {
                float[] logProbs =
                        model.logProbs(
                                        tape,
                                        TrainingBatch.pack(
                                                config, List.of(prompt), List.of(completion)),
                                        1)
                                .logProb()
                                .toFloats();
                for (int i = 0; i < exact.length; i++) {
                    assertThat((double) logProbs[i]).isCloseTo(exact[i].logProb(), within(2e-5));
                }
            }
        }
    }

    @Test
    void loadingSaysHowFarItIs() {
        try (VisionLanguageModel model = SmallModels.random(CONFIG, kernels, Target.CPU_F32, 8)) {
            model.save(folder, new SaveOptions(CheckpointLayout.REMOTE_CODE, 5_000));
        }
        List<Long> done = new ArrayList<>();
        long total = 4 * CONFIG.parameterCount();
        VisionLanguageModel.load(
                        folder,
                        kernels,
                        ComputeType.FLOAT32,
                        (bytes, of) -> {
                            assertThat(of).isEqualTo(total);
                            done.add(bytes);
                        })
                .close();
        assertThat(done).isSorted().hasSameSizeAs(CONFIG.parameters()).last().isEqualTo(total);
    }

    /// A reader would take the old single file for the new weights.
    @Test
    void weightFilesOfBeforeAreRemoved() throws IOException {
        try (VisionLanguageModel model = SmallModels.random(CONFIG, kernels, Target.CPU_F32, 8)) {
            model.save(folder, new SaveOptions(null, 20_000));
            assertThat(folder.resolve("model.safetensors.index.json")).exists();
            Files.writeString(folder.resolve("tokenizer.json"), "{}");
            model.save(folder);
            try (var files = Files.list(folder)) {
                assertThat(files.map(f -> f.getFileName().toString()))
                        .containsExactlyInAnyOrder(
                                "config.json", "model.safetensors", "tokenizer.json");
            }
            model.save(folder, new SaveOptions(null, 20_000));
            assertThat(folder.resolve("model.safetensors")).doesNotExist();
            try (VisionLanguageModel loaded = VisionLanguageModel.load(folder, kernels)) {
                assertSameWeights(loaded, model);
            }
        }
    }

    @Test
    void whatCannotBeLoadedIsRefusedByItsType() throws IOException {
        Files.writeString(folder.resolve("config.json"), CONFIG.toJson());
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        try (Tape tape = Tape.inference(kernels)) {
            for (ParameterSpecification p : CONFIG.parameters()) {
                tensors.put(p.name(), tape.empty(DType.I32, p.shape().dims()));
            }
            SafetensorsWriter.write(folder.resolve("model.safetensors"), Map.of(), tensors);
        }
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("has weights of types that aren't loaded: ")
                .hasMessageContaining("model.vision_tower.encoder.layer.{0-1}.lambda_1 is I32");
    }

    @Test
    void tensorsThatDoNotFitAreListedInOneLine() throws IOException {
        try (VisionLanguageModel model = VisionLanguageModel.initialize(CONFIG, kernels, 1)) {
            SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
            model.parametersByName().forEach((name, p) -> tensors.put(name, p.value()));
            Tensor norm = tensors.remove("model.language_model.norm.weight");
            tensors.put("model.extra", norm);
            Tensor head = tensors.get("lm_head.weight");
            assertThat(head).isNotNull();
            tensors.put("lm_head.weight", head.view(19, 23));
            SafetensorsWriter.write(folder.resolve("model.safetensors"), Map.of(), tensors);
        }
        Files.writeString(folder.resolve("config.json"), CONFIG.toJson());
        long before = device.memory().usedBytes();
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("model.safetensors: does not fit config.json: ")
                .hasMessageContaining("missing model.language_model.norm.weight, ")
                .hasMessageContaining("lm_head.weight is [19, 23], expected [23, 19]")
                .hasMessageContaining("unexpected model.extra")
                .message()
                .doesNotContain("\n");
        assertThat(device.memory().usedBytes()).isEqualTo(before);
    }

    @Test
    void manyFaultsAreCounted() throws IOException {
        try (VisionLanguageModel model = VisionLanguageModel.initialize(CONFIG, kernels, 1)) {
            model.save(folder);
        }
        Files.writeString(folder.resolve("config.json"), VisionLanguageConfig.tiny(23, 5).toJson());
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .message()
                .matches(".* and \\d+ more; .*");
    }

    @Test
    void aFolderWithoutWeightsIsNamed() throws IOException {
        Files.writeString(folder.resolve("config.json"), CONFIG.toJson());
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("there is neither model.safetensors nor");
        Files.writeString(
                folder.resolve("model.safetensors.index.json"),
                "{\"weight_map\": {\"a\": \"../elsewhere.safetensors\"}}");
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("weight_map names no file for a");
    }

    @Test
    void missingShardsAreNamed() throws IOException {
        Files.writeString(folder.resolve("config.json"), CONFIG.toJson());
        Files.writeString(
                folder.resolve("model.safetensors.index.json"),
                "{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}}");
        assertThatThrownBy(() -> VisionLanguageModel.load(folder, kernels))
                .isInstanceOf(InputException.class)
                .hasMessageContaining(
                        "names files that aren't there: one.safetensors, two.safetensors");
    }

    @Test
    void aClosedModelHoldsNoMemory() {
        long before = device.memory().usedBytes();
        VisionLanguageModel.initialize(CONFIG, kernels, 1).close();
        assertThat(device.memory().usedBytes()).isEqualTo(before);
    }

    private static void assertSameWeights(
            VisionLanguageModel actual, VisionLanguageModel expected) {
        assertThat(actual.parametersByName().keySet())
                .containsExactlyElementsOf(expected.parametersByName().keySet());
        for (int i = 0; i < expected.parameters().size(); i++) {
            Parameter parameter = actual.parameters().get(i);
            assertThat(parameter.value().toFloats())
                    .as(parameter.name())
                    .containsExactly(expected.parameters().get(i).value().toFloats());
        }
    }
}
