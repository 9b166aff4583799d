package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

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
