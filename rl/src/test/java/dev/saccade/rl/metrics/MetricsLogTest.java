package dev.saccade.rl.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class MetricsLogTest {
    @TempDir Path run;

    private List<String> lines() throws IOException {
        return Files.readAllLines(run.resolve("metrics.jsonl"));
    }

    @Test
    void writesALineAtATime() throws IOException {
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("train/loss", 0.5);
        metrics.put("actor/lr", Double.NaN);
        try (MetricsLog log = MetricsLog.open(run, -1)) {
            log.training(1, "sft", 1, 2.5, metrics, Map.of());
            assertThat(lines())
                    .containsExactly(
                            "{\"step\":1,\"stage\":\"sft\",\"stage_step\":1,\"time\":2.5,"
                                    + "\"train/loss\":0.5,\"actor/lr\":null}");
            log.evaluation(
                    1,
                    "sft",
                    1,
                    3,
                    Map.of("val-core/all/acc/mean@1", 0.25),
                    Map.of("entropy/histogram", new long[] {3, 0, 12}));
        }
        assertThat(lines().get(1))
                .contains("\"evaluation\":true")
                .endsWith("acc/mean@1\":0.25,\"entropy/histogram\":[3,0,12]}");
    }

    @Test
    void aResumedRunWritesTheSameLinesAgain() throws IOException {
        try (MetricsLog log = MetricsLog.open(run, -1)) {
            log.evaluation(0, "sft", 0, 0, Map.of(), Map.of());
            for (int step = 1; step <= 20; step++) {
                log.training(step, "sft", step, step, Map.of("x", step * 1.0), Map.of());
            }
        }
        String all = Files.readString(run.resolve("metrics.jsonl"));
        Files.writeString(run.resolve("metrics.jsonl"), all.substring(0, all.length() - 9));
        try (MetricsLog log = MetricsLog.open(run, 7)) {
            assertThat(lines()).hasSize(8);
            for (int step = 8; step <= 20; step++) {
                log.training(step, "sft", step, step, Map.of("x", step * 1.0), Map.of());
            }
        }
        assertThat(Files.readString(run.resolve("metrics.jsonl"))).isEqualTo(all);
    }

    @Test
    void aLineThatWasCutOffGoes() throws IOException {
        Files.writeString(run.resolve("metrics.jsonl"), "{\"step\":1}\n{\"step\":2}");
        MetricsLog.open(run, 9).close();
        assertThat(lines()).containsExactly("{\"step\":1}");
        Files.writeString(run.resolve("metrics.jsonl"), "{\"step\":1}\n{\"st\n{\"step\":2}\n");
        MetricsLog.open(run, 9).close();
        assertThat(lines()).containsExactly("{\"step\":1}");
        MetricsLog.open(run, -1).close();
        assertThat(lines()).isEmpty();
    }

    @Test
    void aFolderThatIsMissingIsBadInput() {
        assertThatThrownBy(() -> MetricsLog.open(run.resolve("no"), -1))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("metrics.jsonl");
    }
}
