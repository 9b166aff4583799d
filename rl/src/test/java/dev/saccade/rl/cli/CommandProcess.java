package dev.saccade.rl.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/// The command line in a process of its own, with the classes of this one.
final class CommandProcess implements AutoCloseable {
    private static final long LIMIT_SECONDS = 120;

    private final Process process;
    private final Path out;
    private final Path err;

    private CommandProcess(Process process, Path out, Path err) {
        this.process = process;
        this.out = out;
        this.err = err;
    }

    /// What a command left behind.
    record Result(int status, String out, String err) {
        /// Its messages; the JVM's own about the Vector API is not one.
        List<String> messages() {
            return err.lines()
                    .filter(line -> !line.startsWith("WARNING: Using incubator modules"))
                    .toList();
        }
    }

    /// Starts a command.
    ///
    /// @param folder where its output is kept and it works
    /// @param jvm more options of the JVM
    static CommandProcess start(Path folder, List<String> jvm, String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--add-modules=jdk.incubator.vector");
        command.add("--enable-native-access=ALL-UNNAMED");
        command.add("-Djava.awt.headless=true");
        command.add("-Xmx512m");
        command.addAll(jvm);
        command.add("-cp");
        command.add(System.getProperty("java.class.path"));
        command.add("dev.saccade.rl.cli.Main");
        command.addAll(List.of(arguments));
        try {
            Path out = Files.createTempFile(folder, "out", ".txt");
            Path err = Files.createTempFile(folder, "err", ".txt");
            Process process =
                    new ProcessBuilder(command)
                            .directory(folder.toFile())
                            .redirectOutput(out.toFile())
                            .redirectError(err.toFile())
                            .start();
            process.getOutputStream().close();
            return new CommandProcess(process, out, err);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Runs a command to its end.
    static Result run(Path folder, List<String> jvm, String... arguments) {
        try (CommandProcess command = start(folder, jvm, arguments)) {
            return command.result();
        }
    }

    long pid() {
        return process.pid();
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /// What it has written to standard error until now.
    String messagesSoFar() {
        return read(err);
    }

    /// Whether it ends by itself in this time.
    boolean endsWithin(Duration time) {
        try {
            return process.waitFor(time.toNanos(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Kills it as `kill -9` does.
    void kill() {
        process.destroyForcibly();
        endsWithin(Duration.ofSeconds(LIMIT_SECONDS));
    }

    /// Sends SIGINT, as Ctrl-C does.
    void interrupt() {
        try {
            int status = new ProcessBuilder("kill", "-INT", Long.toString(pid())).start().waitFor();
            if (status != 0) {
                throw new IllegalStateException("kill ended with status " + status);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Waits for its end.
    Result result() {
        if (!endsWithin(Duration.ofSeconds(LIMIT_SECONDS))) {
            throw new IllegalStateException(
                    "the command did not end in " + LIMIT_SECONDS + " s: " + read(err));
        }
        return new Result(process.exitValue(), read(out), read(err));
    }

    private static String read(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        if (process.isAlive()) {
            kill();
        }
    }
}
