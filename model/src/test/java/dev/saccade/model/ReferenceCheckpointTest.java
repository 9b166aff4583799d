package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.image.ImageTiles;
import dev.saccade.model.image.Pixels;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Tiny checkpoints in every layout and for both vision towers, against what transformers computes
/// from them in fp32 (`src/test/python/make_fixtures.py`).
@Tag("device")
final class ReferenceCheckpointTest {
    /// The most error of values, relative to their norm.
    private static final double RELATIVE = 1e-5;

    private static final List<String> FILES =
            List.of(
                    "config.json",
                    "added_tokens.json",
                    "model.safetensors",
                    "model.safetensors.index.json",
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "golden.safetensors");

    @TempDir private Path folder;

    /// The files of a reference folder as files of a folder here.
    private Path unpacked(String name) throws IOException {
        Path to = folder.resolve(name);
        Files.createDirectories(to);
        for (String file : FILES) {
            try (InputStream in =
                    ReferenceCheckpointTest.class.getResourceAsStream(
                            "/reference/" + name + "/" + file)) {
                if (in != null) {
                    Files.copy(in, to.resolve(file));
                }
            }
        }
        return to;
    }

    private static float[] floats(SafetensorsReader golden, String name) {
        return golden.bytes(name).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    }

    private static int[] ints(SafetensorsReader golden, String name) {
        return golden.bytes(name).toArray(ValueLayout.JAVA_INT_UNALIGNED);
    }

    private static void assertClose(float[] actual, float[] expected, String what) {
        assertThat(actual).as(what).hasSameSizeAs(expected);
        double error = 0;
        double norm = 0;
        for (int i = 0; i < actual.length; i++) {
            error += Math.pow((double) actual[i] - expected[i], 2);
            norm += Math.pow(expected[i], 2);
        }
        assertThat(Math.sqrt(error / norm)).as("relative error of " + what).isLessThan(RELATIVE);
    }

    @ParameterizedTest
    @CsvSource({
        "CPU_F32,layer-norm-native,layer-norm-native",
        "CPU_F32,layer-norm-remote,layer-norm-native",
        "CPU_F32,rms-norm-native,rms-norm-native",
        "CPU_F32,rms-norm-remote,rms-norm-native",
        "CPU_F32,qwen2,qwen2",
        "CPU_F32,llama,llama",
        "CUDA_F32,layer-norm-native,layer-norm-native",
        "CUDA_F32,rms-norm-remote,rms-norm-native",
        "CUDA_F32,qwen2,qwen2",
        "CUDA_F32,llama,llama"
    })
    void computesWhatTransformersComputes(Target target, String name, String goldenName)
            throws IOException {
        Path golden = unpacked(goldenName).resolve("golden.safetensors");
        Path checkpoint = name.equals(goldenName) ? folder.resolve(goldenName) : unpacked(name);
        try (Buffers buffers = target.open();
                SafetensorsReader reader = SafetensorsReader.open(golden);
                VisionLanguageModel model =
                        VisionLanguageModel.load(
                                checkpoint, Kernels.of(buffers.device()), ComputeType.FLOAT32)) {
            Pixels pixels = pixels(reader);
            Prompt prompt = new Prompt(ints(reader, "input_ids"), pixels);
            try (Tape tape = Tape.inference(model.kernels())) {
                Tensor visual = model.visualTokens(tape, pixels);
                if (visual != null) {
                    assertClose(
                            visual.toFloats(), floats(reader, "visual_tokens"), "visual tokens");
                }
                PackedBatch batch =
                        PackedBatch.pack(model.config(), List.of(prompt), List.of(new int[0]));
                Tensor hidden = model.hidden(tape, batch, visual);
                int last = model.config().text().numHiddenLayers();
                assertClose(
                        hidden.toFloats(), floats(reader, "hidden." + last), "last hidden states");
                assertClose(
                        model.logits(tape, hidden).toFloats(), floats(reader, "logits"), "logits");
            }
            int[] greedy = ints(reader, "greedy");
            int[] tokens =
                    new Generator(model)
                            .generate(
                                    List.of(new Request(prompt, 0)),
                                    new SamplingOptions(0, 0, 1, greedy.length, new int[0]),
                                    (_, _, _) -> {})
                            .getFirst()
                            .tokens();
            assertThat(tokens).isEqualTo(greedy);
        }
    }

    /// What transformers makes of `rope_scaling` for 60 tokens, where the model was trained for 32,
    /// is the base that our rule gives. The model itself takes no more than 32.
    @Test
    void theDynamicBaseIsThatOfTransformers() throws IOException {
        Path checkpoint = unpacked("qwen2-dynamic-rope");
        Path config = checkpoint.resolve("config.json");
        VisionLanguageConfig as = VisionLanguageConfig.read(config);
        assertThat(as.text().ropeScaling()).isEqualTo(new RopeScaling.Dynamic(2));
        double base =
                as.text().ropeScaling().base(as.text().ropeTheta(), as.text().headDim(), 32, 60);
        String text = Files.readString(config);
        String changed =
                text.replace("\"max_position_embeddings\": 32", "\"max_position_embeddings\": 60")
                        .replace("\"rope_type\": \"dynamic\"", "\"rope_type\": \"default\"")
                        .replace("\"rope_theta\": 1000000.0", "\"rope_theta\": " + base);
        Files.writeString(config, changed);
        try (Buffers buffers = Target.CPU_F32.open();
                SafetensorsReader reader =
                        SafetensorsReader.open(checkpoint.resolve("golden.safetensors"));
                VisionLanguageModel model =
                        VisionLanguageModel.load(checkpoint, Kernels.of(buffers.device()));
                Tape tape = Tape.inference(model.kernels())) {
            Prompt prompt = new Prompt(ints(reader, "input_ids"), null);
            PackedBatch batch =
                    PackedBatch.pack(model.config(), List.of(prompt), List.of(new int[0]));
            assertClose(
                    model.logits(tape, model.hidden(tape, batch, null)).toFloats(),
                    floats(reader, "logits"),
                    "logits of 60 tokens");
        }
    }

    private static @Nullable Pixels pixels(SafetensorsReader golden) {
        SafetensorsReader.Entry entry = golden.entries().get("pixel_values");
        return entry == null
                ? null
                : new Pixels(floats(golden, "pixel_values"), (int) entry.shape().dim(0));
    }

    /// Pictures become the tiles that Pillow and torchvision make of them, bit for bit.
    @Test
    void preparesPicturesAsTheReferenceDoes() throws IOException {
        Path tiles = folder.resolve("tiles.safetensors");
        copy("pictures/tiles.safetensors", tiles);
        try (SafetensorsReader reader = SafetensorsReader.open(tiles)) {
            float[] normalized = floats(reader, "normalized");
            for (String name : List.of("wide", "square", "tall", "alpha", "dot")) {
                Path picture = folder.resolve(name + ".png");
                copy("pictures/" + name + ".png", picture);
                Pixels actual = ImageTiles.prepare(ImageLoader.read(picture), 56, 6, true);
                assertThat(actual.tiles())
                        .as("tiles of " + name)
                        .isEqualTo((int) (reader.bytes(name).byteSize() / (3 * 56 * 56)));
                assertThat(Arrays.mismatch(actual.values(), planes(reader.bytes(name), normalized)))
                        .as("first other value of " + name)
                        .isEqualTo(-1);
            }
        }
    }

    /// [tiles, 56, 56, 3] bytes as [tiles, 3, 56, 56] values, by a table [3, 256].
    private static float[] planes(MemorySegment bytes, float[] normalized) {
        float[] values = new float[(int) bytes.byteSize()];
        int pixels = 56 * 56;
        for (int i = 0; i < values.length; i++) {
            int tile = i / (3 * pixels);
            int pixel = i / 3 % pixels;
            int value = bytes.get(ValueLayout.JAVA_BYTE, i) & 0xff;
            values[(tile * 3 + i % 3) * pixels + pixel] = normalized[i % 3 * 256 + value];
        }
        return values;
    }

    private static void copy(String resource, Path to) throws IOException {
        try (InputStream in =
                ReferenceCheckpointTest.class.getResourceAsStream("/reference/" + resource)) {
            assertThat(in).as(resource).isNotNull();
            Files.copy(in, to);
        }
    }
}
