package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Target;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.Random;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class CompositionTest {
    private final HostDevice device = HostDevice.open(1);
    private final Kernels kernels = Kernels.of(device);

    @TempDir private Path folder;

    @AfterEach
    void close() {
        device.close();
    }

    private static Composition of(Path vision, Path text, @Nullable Path connector) {
        return new Composition(vision, text, connector, 5, OptionalInt.empty(), null);
    }

    private VisionLanguageModel model(NormType variant, long seed) {
        return SmallModels.random(SmallModels.config(variant), kernels, Target.CPU_F32, seed);
    }

    /// Writes the parameters of one part as a checkpoint of that part alone.
    private void cut(
            VisionLanguageModel model,
            ParameterGroup group,
            CheckpointLayout layout,
            String config,
            Path to)
            throws IOException {
        Files.createDirectories(to);
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        try (Tape tape = Tape.inference(kernels)) {
            List<ParameterSpecification> parameters =
                    model.config().parameters().stream().filter(p -> p.group() == group).toList();
            for (CheckpointLayout.Stored stored : layout.tensors(parameters)) {
                float[] values = new float[(int) stored.shape().elements()];
                int at = 0;
                for (ParameterSpecification part : stored.parts()) {
                    float[] floats = floats(model, part.name());
                    System.arraycopy(floats, 0, values, at, floats.length);
                    at += floats.length;
                }
                tensors.put(stored.name(), tape.upload(values, stored.shape().dims()));
            }
            SafetensorsWriter.write(to.resolve("model.safetensors"), Map.of(), tensors);
        }
        Files.writeString(to.resolve("config.json"), config);
    }

    private static float[] floats(VisionLanguageModel model, String parameter) {
        return Objects.requireNonNull(model.parametersByName().get(parameter)).value().toFloats();
    }

    private static float[] logits(VisionLanguageModel model) {
        VisionLanguageConfig config = model.config();
        Prompt prompt = SmallModels.prompt(config, 6, 2, new Random(4));
        try (Tape tape = Tape.inference(model.kernels())) {
            PackedBatch batch = PackedBatch.pack(config, List.of(prompt), List.of(new int[] {1}));
            Tensor visual = model.visualTokens(tape, prompt.pixels());
            return model.logits(tape, model.hidden(tape, batch, visual)).toFloats();
        }
    }

    /// A tower alone, a language model alone, and the connector of the whole.
    @ParameterizedTest
    @EnumSource
    void partsOfAModelGiveTheModelsLogits(NormType variant) throws IOException {
        Path whole = folder.resolve("whole");
        Path tower = folder.resolve("tower");
        Path text = folder.resolve("text");
        try (VisionLanguageModel model = model(variant, 3)) {
            VisionLanguageConfig config = model.config();
            model.save(whole, SaveOptions.of(CheckpointLayout.REMOTE_CODE));
            String remote = Files.readString(whole.resolve("config.json"));
            int start = remote.indexOf('{', remote.indexOf("\"vision_config\""));
            int end = remote.indexOf('}', start);
            cut(
                    model,
                    ParameterGroup.VISION,
                    CheckpointLayout.VISION,
                    remote.substring(start, end + 1),
                    tower);
            cut(
                    model,
                    ParameterGroup.LANGUAGE,
                    CheckpointLayout.TEXT,
                    VisionLanguageConfig.textOnly(config.text(), List.of(7)).toJson(),
                    text);
            for (CheckpointLayout layout :
                    List.of(
                            CheckpointLayout.NATIVE,
                            CheckpointLayout.NATIVE_EARLY,
                            CheckpointLayout.REMOTE_CODE)) {
                Path made = folder.resolve("made-" + layout.label());
                VisionLanguageConfig composed =
                        of(tower, text, whole)
                                .writeTo(made, new SaveOptions(layout, 9_000), LoadProgress.NONE);
                assertThat(composed).isEqualTo(config);
                try (VisionLanguageModel loaded = VisionLanguageModel.load(made, kernels)) {
                    assertThat(loaded.config()).isEqualTo(config);
                    assertThat(logits(loaded)).containsExactly(logits(model));
                }
            }
        }
        try (var left = Files.list(folder)) {
            assertThat(left.map(f -> f.getFileName().toString()))
                    .allMatch(name -> !name.startsWith("."));
        }
    }

    @Test
    void aNewConnectorFollowsFromTheSeed() throws IOException {
        Path parts = folder.resolve("parts");
        try (VisionLanguageModel model = model(NormType.LAYER_NORM, 3)) {
            model.save(parts);
            Files.writeString(parts.resolve("tokenizer.json"), "{}");
            of(parts, parts, null)
                    .writeTo(folder.resolve("made"), SaveOptions.DEFAULT, LoadProgress.NONE);
            try (VisionLanguageModel loaded =
                            VisionLanguageModel.load(folder.resolve("made"), kernels);
                    VisionLanguageModel fresh =
                            VisionLanguageModel.initialize(model.config(), kernels, 5)) {
                loaded.parametersByName()
                        .forEach((name, parameter) -> {
                            VisionLanguageModel expected =
                                    parameter.group() == ParameterGroup.CONNECTOR ? fresh : model;
                            assertThat(parameter.value().toFloats())
                                    .as(name)
                                    .containsExactly(floats(expected, name));
                        });
            }
        }
        assertThat(folder.resolve("made/tokenizer.json")).hasContent("{}");
    }

    @Test
    void partsThatDoNotFitAreNamed() {
        Path small = folder.resolve("small");
        Path tiny = folder.resolve("tiny");
        Path made = folder.resolve("made");
        try (VisionLanguageModel first = model(NormType.LAYER_NORM, 3);
                VisionLanguageModel second =
                        VisionLanguageModel.initialize(
                                VisionLanguageConfig.tiny(12, 11), kernels, 1);
                VisionLanguageModel text =
                        VisionLanguageModel.initialize(
                                VisionLanguageConfig.textOnly(first.config().text(), List.of()),
                                kernels,
                                1)) {
            first.save(small);
            second.save(tiny);
            text.save(folder.resolve("text"));
        }
        fails(
                of(small, small, tiny),
                made,
                "tiny: its connector leads from width 128 to 128, these");
        fails(of(folder.resolve("text"), small, null), made, "text: has no vision tower");
        fails(of(small, small, folder.resolve("text")), made, "text: has no connector");
        fails(
                new Composition(small, small, null, 0, OptionalInt.of(23), null),
                made,
                "the image token 23 is outside its vocabulary of 23");
        fails(of(small, folder.resolve("none"), null), made, "none/config.json: there is no such");
        fails(of(small, small, null), tiny, "tiny: is there already");
        assertThat(made).doesNotExist();
    }

    private static void fails(Composition composition, Path to, String message) {
        assertThatThrownBy(() -> composition.writeTo(to, SaveOptions.DEFAULT, LoadProgress.NONE))
                .isInstanceOf(InputException.class)
                .hasMessageContaining(message);
    }
}
