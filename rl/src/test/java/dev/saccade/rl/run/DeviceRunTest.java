package dev.saccade.rl.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.rl.recipe.Recipe;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// The laws of a run on every device: the same bytes twice, the same bytes after a stop at any
/// step, and a sampler whose numbers are the trainer's.
@Tag("device")
final class DeviceRunTest {
    private static final int STEPS = 15;

    @TempDir private Path folder;

    private Recipe recipe(Target target, String... overrides) {
        List<String> all = new ArrayList<>(List.of(overrides));
        all.add("model.dtype=" + (target.dtype() == DType.BF16 ? "bfloat16" : "float32"));
        return SmallRun.recipe(folder.resolve("data"), all.toArray(String[]::new));
    }

    private static Listener stopAt(long step) {
        return new Listener() {
            @Override
            public void step(Progress progress) {
                if (progress.step() == step) {
                    Trainer.requestStop();
                }
            }
        };
    }

    private static void assertSame(Path actual, Path expected) {
        Map<String, String> wanted = SmallRun.contents(expected);
        Map<String, String> found = SmallRun.contents(actual);
        assertThat(found.keySet()).isEqualTo(wanted.keySet());
        wanted.forEach((name, content) ->
                assertThat(content.equals(found.get(name)))
                        .as(name + " is the same in both runs")
                        .isTrue());
    }

    @ParameterizedTest
    @EnumSource
    void theSameSeedGivesTheSameBytesAndSamplerAndTrainerAgree(Target target) throws IOException {
        try (Buffers buffers = target.open()) {
            Kernels kernels = Kernels.of(buffers.device());
            Path first = folder.resolve("first");
            Path second = folder.resolve("second");
            Summary summary = Trainer.run(recipe(target), first, kernels, Listener.SILENT);
            Trainer.run(recipe(target), second, kernels, Listener.SILENT);
            assertSame(second, first);
            assertThat(summary.complete()).isTrue();
            assertThat(summary.difference()).isEqualTo(new Summary.Difference(0, 0));
            assertThat(Files.readAllLines(first.resolve("metrics.jsonl")))
                    .filteredOn(line -> line.contains("training/rollout_logprob_max_difference"))
                    .hasSize(5)
                    .allMatch(line -> line.contains("_logprob_max_difference\":0.0"))
                    .allMatch(line -> line.contains("_entropy_max_difference\":0.0"))
                    .anyMatch(line -> !line.contains("\"grpo/skipped_groups\":3.0"));
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRunStoppedAfterEachOfItsStepsEndsAsIfItHadNeverStopped(Target target) {
        try (Buffers buffers = target.open()) {
            Kernels kernels = Kernels.of(buffers.device());
            Path whole = folder.resolve("whole");
            Path stopped = folder.resolve("stopped");
            Trainer.run(recipe(target), whole, kernels, Listener.SILENT);
            Trainer.run(recipe(target), stopped, kernels, stopAt(1));
            for (long step = 2; step < STEPS; step++) {
                assertThat(Trainer.resume(stopped, kernels, stopAt(step)).complete()).isFalse();
            }
            assertThat(Trainer.resume(stopped, kernels, Listener.SILENT).complete()).isTrue();
            assertSame(stopped, whole);
        }
    }

    /// With steps of one shape: all rows in one micro-batch, answers of one token. A stage's last
    /// step is left out: the evaluation that ends the stage belongs to it.
    @ParameterizedTest
    @EnumSource
    void aStageAsksTheSystemForNoMemoryAfterItsSecondStep(Target target) {
        try (Buffers buffers = target.openAlone()) {
            Kernels kernels = Kernels.of(buffers.device());
            Map<String, List<Long>> allocations = new LinkedHashMap<>();
            List<String> overrides = new ArrayList<>();
            for (int stage = 0; stage < 3; stage++) {
                for (String setting :
                        List.of("train_batch_size=12", "micro_batch_size=48", "save_freq=0")) {
                    overrides.add("stages." + stage + "." + setting);
                }
            }
            overrides.add("stages.1.max_response_length=1");
            overrides.add("stages.1.test_freq=0");
            overrides.add("stages.2.steps=4");
            Recipe recipe = recipe(target, overrides.toArray(String[]::new));
            Trainer.run(
                    recipe,
                    folder.resolve("run"),
                    kernels,
                    new Listener() {
                        @Override
                        public void step(Progress progress) {
                            if (progress.stageStep() < progress.stageSteps()) {
                                allocations
                                        .computeIfAbsent(
                                                progress.stage(), stage -> new ArrayList<>())
                                        .add(buffers.device().memory().allocations());
                            }
                        }
                    });
            assertThat(allocations.keySet()).containsExactly("first", "rl", "last");
            allocations.forEach((stage, counts) ->
                    assertThat(counts.subList(1, counts.size()))
                            .as("allocations after each step of stage %s: %s", stage, counts)
                            .containsOnly(counts.get(1)));
        }
    }

    @Test
    void aRunGoesOnOnItsOwnKindOfDeviceOnly() throws IOException {
        Path run = folder.resolve("elsewhere");
        Path config = run.resolve("config.yaml");
        try (HostDevice device = HostDevice.open(1)) {
            Kernels kernels = Kernels.of(device);
            Trainer.run(recipe(Target.CPU_F32), run, kernels, stopAt(1));
            String cpu = Files.readString(config);
            assertThat(cpu).contains("device: \"cpu\"", "dtype: \"float32\"");
            Files.writeString(config, cpu.replace("device: \"cpu\"", "device: \"cuda\""));
            assertThatThrownBy(() -> Trainer.resume(run, kernels, Listener.SILENT))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining(run + ": the run was computed on cuda")
                    .hasMessageContaining("--device cuda");
            // What a version that had only the CPU wrote.
            Files.writeString(
                    config, cpu.replace("device: \"cpu\"\n", "").replaceFirst(" *dtype: .*\n", ""));
            assertThat(Trainer.resume(run, kernels, stopAt(2)).device()).isEqualTo("cpu");
        }
    }

    /// The losses of the quick start's first supervised steps.
    private static List<Double> losses(Path run, Kernels kernels) {
        Recipe quick =
                Recipe.load(
                        "quick",
                        List.of(
                                "model.dtype=float32",
                                "evaluation.data=null",
                                "evaluation.test_data=null"));
        List<Double> losses = new ArrayList<>();
        Trainer.run(
                quick,
                run,
                kernels,
                new Listener() {
                    @Override
                    public void step(Progress progress) {
                        losses.add(progress.metrics().get("train/loss"));
                        if (progress.step() == 20) {
                            Trainer.requestStop();
                        }
                    }
                });
        return losses;
    }

    @Test
    void theQuickStartsFirstLossesInFloat32AreTheCpus() {
        try (Buffers buffers = Target.CUDA_F32.open();
                HostDevice cpu = HostDevice.open()) {
            List<Double> expected = losses(folder.resolve("cpu"), Kernels.of(cpu));
            List<Double> actual = losses(folder.resolve("cuda"), Kernels.of(buffers.device()));
            assertThat(actual).hasSize(20).hasSameSizeAs(expected);
            for (int i = 0; i < 20; i++) {
                assertThat(actual.get(i))
                        .as("loss of step %d", i + 1)
                        .isCloseTo(expected.get(i), within(1e-3 * expected.get(i)));
            }
        }
    }
}
