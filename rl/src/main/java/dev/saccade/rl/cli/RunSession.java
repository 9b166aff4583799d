package dev.saccade.rl.cli;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.rl.recipe.DeviceKind;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.report.Report;
import dev.saccade.rl.run.Summary;
import dev.saccade.rl.run.Trainer;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

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
        return work(
                recipe.device(),
                folder,
                (kernels, console) -> Trainer.run(recipe, folder, kernels, console));
    }

    /// Goes on with a run, on the kind of device that it began on.
    int resume(Path folder) {
        DeviceKind kind = Trainer.recipe(folder).device();
        String missing = DeviceChoice.whyNoCuda(CudaDevice.probe());
        if (kind == DeviceKind.CUDA && common.device == null && missing != null) {
            throw new InputException(
                    folder.toString(),
                    "the run was computed on cuda, which can't be used here: " + missing,
                    "go on with it on a machine with a GPU");
        }
        return work(kind, folder, (kernels, console) -> Trainer.resume(folder, kernels, console));
    }

    private interface Work {
        Summary run(Kernels kernels, RunConsole console);
    }

    private int work(@Nullable DeviceKind kind, Path folder, Work work) {
        CountDownLatch done = new CountDownLatch(1);
        try (Device device = common.open(kind)) {
            RunConsole console = new RunConsole(type -> common.header(device, type));
            // On Ctrl-C the JVM runs this hook; it ends once the step in progress is saved.
            Thread hook =
                    Thread.ofPlatform().name("saccade-stop").unstarted(() -> stop(console, done));
            Runtime.getRuntime().addShutdownHook(hook);
            try {
                return work(folder, work, Kernels.of(device), console);
            } finally {
                console.end();
                done.countDown();
                removeHook(hook);
            }
        }
    }

    private static int work(Path folder, Work work, Kernels kernels, RunConsole console) {
        Summary summary = work.run(kernels, console);
        if (!console.wasInterrupted()) {
            RunConsole.printTable(summary, folder, System.out);
        }
        Report.write(folder);
        System.out.printf("report       %s%n", folder.resolve("report.html"));
        if (console.wasInterrupted()) {
            System.out.printf("go on with   ./saccade train --resume %s%n", folder);
            return Main.FAILED;
        }
        return 0;
    }

    private static void stop(RunConsole console, CountDownLatch done) {
        console.stopping();
        Trainer.requestStop();
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
}
