package dev.saccade.rl.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import dev.saccade.rl.recipe.Recipe;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@TestInstance(TestInstance.Lifecycle.PER_CLASS)
final class TrainerTest {
    private static final int STEPS = 15;

    private Path folder = Path.of("");
    private Path data = Path.of("");
    private Path whole = Path.of("");
    private final List<Summary> summaries = new ArrayList<>();

    /// The run that was never stopped, with which the others are compared.
    @BeforeAll
    void runOnce(@TempDir Path temporary) {
        folder = temporary;
        data = folder.resolve("data");
        whole = folder.resolve("whole");
        summaries.add(run(whole, 1, Listener.SILENT));
    }

    private Recipe recipe(String... overrides) {
        return SmallRun.recipe(data, overrides);
    }

    private Summary run(Path run, int workers, Listener listener) {
        return SmallRun.withWorkers(
                workers, kernels -> Trainer.run(recipe(), run, kernels, listener));
    }

    private static Summary resume(Path run, Listener listener) {
        return SmallRun.withWorkers(1, kernels -> Trainer.resume(run, kernels, listener));
    }

    /// The machine loses power at a step.
    private static final class PowerCut extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    private static Listener cutAt(long step) {
        return new Listener() {
            @Override
            public void step(Progress progress) {
                if (progress.step() == step) {
                    throw new PowerCut();
                }
            }
        };
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

    private void assertSameAsWhole(Path run) {
        Map<String, String> expected = SmallRun.contents(whole);
        Map<String, String> found = SmallRun.contents(run);
        assertThat(found.keySet()).isEqualTo(expected.keySet());
        expected.forEach((name, content) ->
                assertThat(content.equals(found.get(name)))
                        .as(name + " is the same in both runs")
                        .isTrue());
    }

    @Test
    void aRunLeavesWhatTheReportReads() throws IOException {
        Summary summary = summaries.getFirst();
        assertThat(summary.complete()).isTrue();
        assertThat(summary.stages()).hasSize(3);
        assertThat(summary.stages().get(1).accuracyBefore())
                .isEqualTo(summary.stages().get(0).accuracyAfter())
                .containsOnlyKeys("all", "third", "other");
        assertThat(summary.stages().get(1).greedyAfter()).containsKey("all");
        assertThat(summary.difference()).isEqualTo(new Summary.Difference(0, 0));
        assertThat(summary.checkpoints())
                .extracting(checkpoint -> checkpoint.candidate().step())
                .containsExactly(10L, 12L, 13L, 15L);
        assertThat(summary.selectedCheckpoint()).isNotNull();
        assertThat(whole.resolve(String.valueOf(summary.selectedCheckpoint())))
                .isDirectoryContaining("glob:**/model.safetensors")
                .isDirectoryContaining("glob:**/tokenizer.json")
                .isDirectoryContaining("glob:**/optimizer.safetensors")
                .isDirectoryContaining("glob:**/config.json")
                .isDirectoryContaining("glob:**/state.json");
        assertThat(whole.resolve("rollouts")).isDirectoryContaining("glob:**/eval-step-15.jsonl");
        assertThat(whole.resolve("rollouts/step-10.jsonl"))
                .content()
                .contains("\"advantage\"")
                .containsPattern("\"lp\":[^,}]+,(\"c\":true,)?\"m\":0\\.");
        assertThat(whole.resolve("metrics.jsonl"))
                .content()
                .contains("\"entropy/critical_mass/mean\":")
                .contains("\"entropy/critical_possible/count\":")
                .containsPattern("\"entropy/histogram\":\\[\\d+,");
        assertThat(whole.resolve("summary.json")).content().contains("\"final_checkpoint\"");
        try (Stream<Path> files = Files.list(whole.resolve("tensorboard"))) {
            Path events = files.sorted().findFirst().orElseThrow();
            assertThat(new String(Files.readAllBytes(events), StandardCharsets.ISO_8859_1))
                    .contains("val/entropy/histogram", "entropy/critical_mass/mean")
                    .containsPattern("[^/]entropy/histogram");
        }
    }

    @Test
    void theReinforcedStageTrainsSomething() throws IOException {
        assertThat(Files.readAllLines(whole.resolve("metrics.jsonl")))
                .filteredOn(line -> line.contains("\"actor/pg_loss\""))
                .hasSize(5)
                .anyMatch(line -> !line.contains("\"grpo/skipped_groups\":3.0"));
    }

    @Test
    void theNumberOfWorkersChangesNothing() {
        Path run = folder.resolve("two-workers");
        run(run, 2, Listener.SILENT);
        assertSameAsWhole(run);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 3, 4, 8, 9, 11, 12, 13, 14, STEPS})
    void aRunThatLostPowerGoesOnToTheSameBytes(long step) {
        Path run = folder.resolve("cut-" + step);
        assertThatThrownBy(() -> run(run, 1, cutAt(step))).isInstanceOf(PowerCut.class);
        resume(run, Listener.SILENT);
        assertSameAsWhole(run);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 6, 8, 11, 14})
    void aRunThatWasStoppedSavesItsStepAndGoesOnToTheSameBytes(long step) {
        Path run = folder.resolve("stopped-" + step);
        List<Long> steps = new ArrayList<>();
        assertThat(run(run, 1, stopAt(step)).complete()).isFalse();
        assertThat(run.resolve("checkpoints/step-" + step)).isDirectory();
        Summary resumed =
                resume(
                        run,
                        new Listener() {
                            @Override
                            public void started(Recipe recipe, Path folder, long from) {
                                steps.add(from);
                            }
                        });
        assertThat(resumed.complete()).isTrue();
        assertThat(steps).containsExactly(step);
        assertSameAsWhole(run);
    }

    @Test
    void aRunThatIsStoppedAgainAndAgainEndsTheSame() {
        Path run = folder.resolve("again");
        run(run, 1, stopAt(2));
        for (long step = 4; step < STEPS; step += 3) {
            resume(run, stopAt(step));
        }
        resume(run, Listener.SILENT);
        assertSameAsWhole(run);
    }

    @Test
    void aCompleteRunIsLeftAsItIs() {
        Map<String, String> before = SmallRun.contents(whole);
        resume(whole, Listener.SILENT);
        assertThat(SmallRun.contents(whole).equals(before)).isTrue();
    }

    @Test
    void whatWasBeingWrittenIsRemoved() throws IOException {
        Path run = folder.resolve("torn");
        assertThatThrownBy(() -> run(run, 1, cutAt(9))).isInstanceOf(PowerCut.class);
        Files.createDirectories(run.resolve("checkpoints/.step-10"));
        Files.writeString(run.resolve("checkpoints/.step-10/model.safetensors"), "half");
        Files.writeString(
                run.resolve("metrics.jsonl"), "{\"step\":10,\"st", StandardOpenOption.APPEND);
        Files.writeString(run.resolve("rollouts/step-10.jsonl"), "{}");
        resume(run, Listener.SILENT);
        assertSameAsWhole(run);
    }

    @Test
    void anOlderCheckpointServesForADamagedOne() throws IOException {
        Path run = folder.resolve("damaged");
        assertThatThrownBy(() -> run(run, 1, cutAt(9))).isInstanceOf(PowerCut.class);
        truncate(run.resolve("checkpoints/step-8/model.safetensors"));
        List<String> notices = new ArrayList<>();
        resume(
                run,
                new Listener() {
                    @Override
                    public void notice(String message) {
                        notices.add(message);
                    }
                });
        assertThat(notices)
                .singleElement()
                .asString()
                .contains("step-8", "model.safetensors", "damaged", "from step 4");
        assertSameAsWhole(run);
    }

    @Test
    void aDamagedCheckpointAloneIsAnError() throws IOException {
        Path run = folder.resolve("damaged-alone");
        assertThatThrownBy(() -> run(run, 1, cutAt(5))).isInstanceOf(PowerCut.class);
        truncate(run.resolve("checkpoints/step-4/optimizer.safetensors"));
        assertThatThrownBy(() -> resume(run, Listener.SILENT))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("optimizer.safetensors")
                .hasMessageContaining("damaged");
    }

    private static void truncate(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.truncate(channel.size() / 2);
        }
    }

    @Test
    void aRunInUseIsRefused() {
        Path run = folder.resolve("in-use");
        List<Throwable> refused = new ArrayList<>();
        run(
                run,
                1,
                new Listener() {
                    @Override
                    public void step(Progress progress) {
                        if (progress.step() == 2) {
                            try {
                                resume(run, Listener.SILENT);
                            } catch (InputException e) {
                                refused.add(e);
                            }
                        }
                    }
                });
        assertThat(refused)
                .singleElement()
                .asString()
                .contains("is in use by process " + ProcessHandle.current().pid())
                .contains("wait or stop it");
    }

    @Test
    void aFolderThatHoldsSomethingIsRefused() {
        assertThatThrownBy(() -> run(whole, 1, Listener.SILENT))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("holds a run")
                .hasMessageContaining("--resume");
        assertThatThrownBy(() -> run(data, 1, Listener.SILENT))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("is not empty");
        assertThat(data.resolve("sft.jsonl")).exists();
        assertThatThrownBy(() -> resume(data, Listener.SILENT))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("is not a run");
    }

    @Test
    void rowsWithoutResponseAreRefusedBeforeAnythingRuns() {
        Path run = folder.resolve("no-response");
        Recipe recipe = recipe("stages.last.data=rl.jsonl");
        assertThatThrownBy(() ->
                        SmallRun.withWorkers(
                                1, kernels -> Trainer.run(recipe, run, kernels, Listener.SILENT)))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("rl.jsonl")
                .hasMessageContaining("no response");
        assertThat(run.resolve("metrics.jsonl")).doesNotExist();
    }

    @Test
    void aFrozenGroupKeepsItsBytes() {
        Path run = folder.resolve("frozen");
        Recipe recipe = recipe("keep_checkpoints=9", "stages.rl.trainable=[connector]");
        SmallRun.withWorkers(1, kernels -> Trainer.run(recipe, run, kernels, Listener.SILENT));
        Map<String, byte[]> before = Weights.of(run.resolve("checkpoints/step-8"));
        Map<String, byte[]> after = Weights.of(run.resolve("checkpoints/step-13"));
        assertThat(after.keySet()).isEqualTo(before.keySet());
        after.forEach((name, bytes) ->
                assertThat(java.util.Arrays.equals(bytes, before.get(name)))
                        .as(name)
                        .isEqualTo(!name.contains("multi_modal_projector")));
    }
}
