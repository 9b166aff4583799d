package dev.saccade.rl.cli;

import dev.saccade.rl.run.SmallRun;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/// A recipe file for processes that are stopped: two stages, checkpoints every other step.
final class TinyRun {
    private static final String RECIPE =
            """
            name: tiny
            seed: 5
            model:
              vision_config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
                              intermediate_size: 24, image_size: 8, patch_size: 4}
              text_config: {hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2,
                            num_key_value_heads: 1, head_dim: 12, intermediate_size: 32}
            data: {folder: data}
            evaluation: {max_response_length: 6, batch_size: 5, rollouts: 2, rows: 2}
            stages:
              - name: first
                kind: sft
                data: sft.jsonl
                steps: 6
                train_batch_size: 3
                max_response_length: 9
                optim: {lr: 2e-2, lr_warmup_steps: 2, schedule: cosine}
                save_freq: 2
              - name: rl
                kind: grpo
                data: rl.jsonl
                eval_data: eval.jsonl
                steps: 6
                train_batch_size: 2
                max_response_length: 6
                rollout: {n: 3}
                optim: {lr: 1e-3}
                test_freq: 3
                save_freq: 3
                rollout_freq: 2
            """;

    /// Every step that a whole run takes.
    static final int STEPS = 12;

    private TinyRun() {}

    /// Writes `tiny.yaml` and its rows into a folder; the recipe's path is returned.
    static Path write(Path folder) {
        SmallRun.recipe(folder.resolve("data"));
        try {
            return Files.writeString(folder.resolve("tiny.yaml"), RECIPE, StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
