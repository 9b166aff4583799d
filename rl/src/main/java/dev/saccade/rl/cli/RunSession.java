package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.kernels.Kernels;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.report.Report;
import dev.saccade.rl.run.Summary;
import dev.saccade.rl.run.Trainer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/// A run from the command line: trains or goes on, stops at a step boundary on Ctrl-C with
/// everything saved, and writes the report.
final class RunSession {
    private static final long STOP_SECONDS = 60;

    private final CommonOptions common;

    RunSession(CommonOptions common) {
        this.common = common;
    }

    /// A folder for a new run: `runs/<name>-<date>-<time>`.
    static Path newFolder(String name) {
        String stamp =
                LocalDateTime.now(java.time.ZoneId.systemDefault())
                        .format(DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss", Locale.ROOT));
        return Path.of("runs", name.replace(' ', '-') + "-" + stamp);
    }

    /// Runs a recipe from its start.
    int start(Recipe recipe, Path folder) {
        return work(folder, (kernels, console) -> Trainer.run(recipe, folder, kernels, console));
    }

    /// Goes on with a run.
    int resume(Path folder) {
        return work(folder, (kernels, console) -> Trainer.resume(folder, kernels, console));
    }

    private interface Work {
        Summary run(Kernels kernels, RunConsole console);
    }

    private int work(Path folder, Work work) {
        RunConsole console = new RunConsole();
        CountDownLatch done = new CountDownLatch(1);
        // On Ctrl-C the JVM runs this hook; it ends once the step in progress is saved.
        Thread hook =
                Thread.ofPlatform()
                        .name("saccade-stop")
                        .unstarted(
                                () -> {
                                    Trainer.requestStop();
                                    await(done);
                                });
        Runtime.getRuntime().addShutdownHook(hook);
        try (Device device = common.open()) {
            System.err.printf("device %s%n", device.name());
            Summary summary = work.run(Kernels.of(device), console);
            if (!console.wasInterrupted()) {
                RunConsole.printTable(summary, System.out);
            }
            Report.write(folder);
            System.out.printf("report       %s%n", folder.resolve("report.html"));
            if (console.wasInterrupted()) {
                System.out.printf("go on with   ./saccade train --resume %s%n", folder);
                return Main.FAILED;
            }
            return 0;
        } finally {
            done.countDown();
            removeHook(hook);
        }
    }

    private static void await(CountDownLatch done) {
        try {
            if (!done.await(STOP_SECONDS, TimeUnit.SECONDS)) {
                System.err.printf("the step did not end within %d s%n", STOP_SECONDS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void removeHook(Thread hook) {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // The hook is running: the process is on its way out.
            return;
        }
    }

    /// Whether a folder exists and has something in it.
    static boolean occupied(Path folder) {
        if (!Files.isDirectory(folder)) {
            return Files.exists(folder);
        }
        try (java.util.stream.Stream<Path> entries = Files.list(folder)) {
            return entries.findAny().isPresent();
        } catch (java.io.IOException e) {
            return true;
        }
    }
}
