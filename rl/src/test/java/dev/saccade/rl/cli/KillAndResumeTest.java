package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.rl.run.SmallRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/// A run in a process that is killed, or stopped by Ctrl-C, and resumed ends with the bytes of the
/// run that nobody touched.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
final class KillAndResumeTest {
    private static final int KILLS = 20;
    private static final long SEED = 20_260_117;

    /// The run that is compared with uses the JIT compilers as they come; the others the first one
    /// alone, which starts sooner. No bit may depend on it.
    private static final List<String> QUICK_START =
            List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC");

    private Path folder = Path.of("");
    private Path recipe = Path.of("");
    private Map<String, String> untouched = Map.of();
    private long runNanos;

    @BeforeAll
    void runUntouched(@TempDir Path temporary) {
        folder = temporary;
        recipe = TinyRun.write(folder);
        Path run = folder.resolve("untouched");
        long start = System.nanoTime();
        CommandProcess.Result result =
                CommandProcess.run(
                        folder, List.of(), "train", recipe.toString(), "--out", run.toString());
        assertThat(result.status()).as(result.err()).isZero();
        runNanos = System.nanoTime() - start;
        assertThat(run.resolve("checkpoints/step-" + TinyRun.STEPS)).isDirectory();
        untouched = contents(run);
    }

    private CommandProcess train(Path run) {
        // A process killed before it wrote the recipe has begun nothing.
        return Files.exists(run.resolve("config.yaml"))
                ? CommandProcess.start(
                        folder, QUICK_START, "train", "--threads", "1", "--resume", run.toString())
                : CommandProcess.start(
                        folder,
                        QUICK_START,
                        "train",
                        "--threads",
                        "1",
                        recipe.toString(),
                        "--out",
                        run.toString());
    }

    /// What must be the same; the report shows times.
    private static Map<String, String> contents(Path run) {
        Map<String, String> contents = SmallRun.contents(run);
        assertThat(contents.remove("report.html")).isNotNull();
        return contents;
    }

    private void assertUntouched(Path run) {
        Map<String, String> found = contents(run);
        assertThat(found.keySet()).isEqualTo(untouched.keySet());
        untouched.forEach((name, content) ->
                assertThat(content.equals(found.get(name))).as(name + " is the same").isTrue());
    }

    @Test
    void aRunKilledAtRandomMomentsEndsWithTheSameBytes() {
        Random random = new Random(SEED);
        List<Long> kills = new ArrayList<>();
        int runs = 0;
        while (kills.size() < KILLS) {
            Path run = folder.resolve("killed-" + runs);
            boolean complete = false;
            while (!complete) {
                try (CommandProcess process = train(run)) {
                    Duration delay = Duration.ofNanos((long) (random.nextDouble() * runNanos));
                    if (kills.size() < KILLS && !process.endsWithin(delay)) {
                        process.kill();
                        kills.add(lines(run));
                    } else {
                        CommandProcess.Result result = process.result();
                        assertThat(result.status()).as(result.err()).isZero();
                        complete = true;
                    }
                }
            }
            assertUntouched(run);
            runs++;
        }
        System.out.printf(
                "%d kills hit %d runs (seed %d), with these lines of metrics written: %s%n",
                kills.size(), runs, SEED, kills);
    }

    /// Waits for a random number of lines of metrics.
    private static void waitForStep(CommandProcess process, Path run, Random random) {
        int lines = random.nextInt(TinyRun.STEPS);
        while (process.isAlive() && lines(run) < lines) {
            LockSupport.parkNanos(1_000_000);
        }
        assertThat(process.isAlive()).as(process.messagesSoFar()).isTrue();
    }

    private static long lines(Path run) {
        Path metrics = run.resolve("metrics.jsonl");
        try {
            return Files.exists(metrics) ? Files.readString(metrics).lines().count() : -1;
        } catch (IOException e) {
            // It is being written.
            return -1;
        }
    }

    @Test
    void ctrlCStopsAtAStepBoundaryWithTheStateSaved() {
        Path run = folder.resolve("interrupted");
        CommandProcess.Result result;
        try (CommandProcess process = train(run)) {
            waitForStep(process, run, new Random(SEED));
            process.interrupt();
            result = process.result();
        }
        assertThat(result.status()).as(result.err()).isNotZero();
        assertThat(result.err()).contains("stopping after this step", "everything is saved");
        assertThat(result.out()).contains("./saccade train --resume " + run);
        String stopped = result.err().replaceAll("(?s).*stopped after step (\\d+);.*", "$1");
        if (!stopped.equals("0")) {
            assertThat(run.resolve("checkpoints/step-" + stopped)).isDirectory();
        }
        assertThat(run.resolve("summary.json")).content().contains("\"complete\" : false");
        try (CommandProcess process = train(run)) {
            result = process.result();
        }
        assertThat(result.status()).as(result.err()).isZero();
        assertThat(result.err()).contains("goes on from step " + stopped);
        assertUntouched(run);
    }
}
