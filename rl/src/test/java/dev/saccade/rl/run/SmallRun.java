package dev.saccade.rl.run;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.rl.recipe.Recipe;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import javax.imageio.ImageIO;

/// A recipe with a model of a few thousand parameters and rows that it learns in a few steps: the
/// picture is dark or bright, the answer 1 or 2.
public final class SmallRun {
    private static final int ROWS = 12;

    private SmallRun() {}

    private static final String RECIPE =
            """
            name: small
            seed: 7
            model:
              vision_config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
                              intermediate_size: 24, image_size: 8, patch_size: 4}
              text_config: {hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2,
                            num_key_value_heads: 1, head_dim: 12, intermediate_size: 32}
            data: {folder: DATA}
            evaluation: {data: eval.jsonl, test_data: test.jsonl, greedy: true,
                         max_response_length: 9, batch_size: 5, rollouts: 3}
            keep_checkpoints: 3
            stages:
              - name: first
                kind: sft
                data: sft.jsonl
                steps: 8
                train_batch_size: 8
                micro_batch_size: 3
                max_response_length: 9
                optim: {lr: 2e-2, lr_warmup_steps: 2, schedule: cosine, betas: [0.8, 0.95]}
                save_freq: 4
              - name: rl
                kind: grpo
                data: rl.jsonl
                steps: 5
                train_batch_size: 3
                micro_batch_size: 5
                max_response_length: 9
                rollout: {n: 4}
                optim: {lr: 1e-3, betas: [0.8, 0.95], weight_decay: 0}
                test_freq: 2
                save_freq: 2
                rollout_freq: 2
              - name: last
                kind: connector
                data: sft.jsonl
                steps: 2
                train_batch_size: 4
                max_response_length: 9
                optim: {lr: 1e-3}
            """;

    /// The recipe over rows in `data`, which are written there.
    public static Recipe recipe(Path data, String... overrides) {
        write(data);
        return Recipe.parse(
                RECIPE.replace("DATA", data.toString()), "small", null, List.of(overrides));
    }

    private static void write(Path data) {
        try {
            if (Files.exists(data.resolve("test.jsonl"))) {
                return;
            }
            Files.createDirectories(data);
            for (int i = 0; i < 4; i++) {
                BufferedImage image = new BufferedImage(8, 8, BufferedImage.TYPE_INT_RGB);
                for (int pixel = 0; pixel < 64; pixel++) {
                    int grey = (i % 2 == 0 ? 20 : 200) + 10 * i + pixel % 7;
                    image.setRGB(pixel % 8, pixel / 8, grey * 0x010101);
                }
                ImageIO.write(image, "png", data.resolve(i + ".png").toFile());
            }
            for (String name : List.of("sft", "rl", "eval", "test")) {
                StringBuilder rows = new StringBuilder();
                for (int i = 0; i < ROWS; i++) {
                    int answer = 1 + i % 2;
                    rows.append(
                            """
                            {"data_source": "%s", "prompt": [{"role": "user", "content": "%s<image>"}], \
                            "images": ["%d.png"], \
                            "reward_model": {"style": "rule", "ground_truth": "%d"}%s}
                            """
                                    .formatted(
                                            i % 3 == 0 ? "third" : "other",
                                            i % 3 == 0 ? "What" : "Which",
                                            i % 4,
                                            answer,
                                            name.equals("sft")
                                                    ? ", \"response\": \"Wait</think>\\\\boxed{%d}\""
                                                            .formatted(answer)
                                                    : ""));
                }
                Files.writeString(data.resolve(name + ".jsonl"), rows);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// What a run does on a device with some workers.
    public interface Work<T> {
        /// The work.
        T on(Kernels kernels);
    }

    /// Does the work on a device with some workers.
    public static <T> T withWorkers(int workers, Work<T> work) {
        try (HostDevice device = HostDevice.open(workers)) {
            return work.on(Kernels.of(device));
        }
    }

    /// Every file of a run with its bytes, the lines' times taken out.
    public static Map<String, String> contents(Path run) {
        Map<String, String> contents = new TreeMap<>();
        try (Stream<Path> files = Files.walk(run)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                String name = run.relativize(file).toString();
                if (!name.equals("run.lock") && !name.contains("tensorboard")) {
                    contents.put(
                            name,
                            withoutTimes(
                                    name, Files.readString(file, StandardCharsets.ISO_8859_1)));
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return contents;
    }

    private static String withoutTimes(String name, String text) {
        if (name.equals("summary.json")) {
            return text.replaceAll("\"(seconds|threads)\" : [0-9.Ee-]+", "");
        }
        return name.equals("metrics.jsonl")
                ? text.replaceAll(
                        "\"(time|timing_s/[a-z_]+|perf/throughput|perf/time_per_step)\" ?:"
                                + " ?[0-9.Ee-]+",
                        "")
                : text;
    }
}
