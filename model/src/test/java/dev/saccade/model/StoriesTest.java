package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.tensor.Tape;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A small Llama with real weights (stories260K of llama2.c, `shared/data/stories260K` beside the
/// repository) against logits and greedy tokens that another implementation gave.
final class StoriesTest {
    /// The error of logits relative to their norm.
    private static final double RELATIVE = 1e-5;

    @TempDir private Path folder;

    @Test
    void realWeightsTellTheGoldenStory() throws IOException {
        Path data = SharedData.require("stories260K");
        JsonNode golden =
                JsonMapper.shared().readTree(Files.readString(data.resolve("golden_greedy.json")));
        int[] ids = new int[golden.path("greedy_ids").size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = golden.path("greedy_ids").get(i).asInt();
        }
        try (HostDevice device = HostDevice.open(1)) {
            Kernels kernels = Kernels.of(device);
            Stories.read(data.resolve("stories260K.bin")).save(folder, kernels);
            try (VisionLanguageModel model = VisionLanguageModel.load(folder, kernels)) {
                assertThat(model.config().text().attentionBias()).isFalse();
                Prompt prompt = new Prompt(new int[] {ids[0]}, null);
                int[] tokens =
                        new Generator(model)
                                .generate(
                                        List.of(new Request(prompt, 0)),
                                        new SamplingOptions(0, 0, 1, ids.length - 1, new int[0]),
                                        (_, _, _) -> {})
                                .getFirst()
                                .tokens();
                assertThat(tokens).isEqualTo(Arrays.copyOfRange(ids, 1, ids.length));
                float[][] logits = logits(model, prompt, tokens);
                assertClose(logits[0], golden.path("logits_pos0"));
                assertClose(logits[10], golden.path("logits_pos10"));
            }
        }
    }

    /// The logits at every position of a prompt and its continuation.
    private static float[][] logits(VisionLanguageModel model, Prompt prompt, int[] tokens) {
        try (Tape tape = Tape.inference(model.kernels())) {
            PackedBatch batch = PackedBatch.pack(model.config(), List.of(prompt), List.of(tokens));
            float[] all = model.logits(tape, model.hidden(tape, batch, null)).toFloats();
            float[][] rows = new float[batch.rows()][];
            int width = model.config().text().vocabSize();
            for (int i = 0; i < rows.length; i++) {
                rows[i] = Arrays.copyOfRange(all, i * width, (i + 1) * width);
            }
            return rows;
        }
    }

    private static void assertClose(float[] actual, JsonNode expected) {
        assertThat(actual).hasSize(expected.size());
        double error = 0;
        double norm = 0;
        for (int i = 0; i < actual.length; i++) {
            double exact = expected.get(i).asDouble();
            error += (actual[i] - exact) * (actual[i] - exact);
            norm += exact * exact;
        }
        assertThat(Math.sqrt(error / norm)).isCloseTo(0, within(RELATIVE));
    }
}
