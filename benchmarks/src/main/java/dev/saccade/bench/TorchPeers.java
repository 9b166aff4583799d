package dev.saccade.bench;

import dev.saccade.engine.InputException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// PyTorch as a peer: runs `torch_peers.py`, which this build carries, in a process of its own on
/// the cases that we measured, where there is a Python with PyTorch and a GPU that it can use.
final class TorchPeers {
    /// Chooses the Python; without it that of `VIRTUAL_ENV` is taken, or `python3` of `PATH`.
    static final String VARIABLE = "SACCADE_PYTHON";

    private static final String SCRIPT = "torch_peers.py";

    /// The status of [#PROBE] where PyTorch is there and finds no GPU.
    private static final int NO_GPU = 3;

    private static final String PROBE =
            "import sys, torch; sys.exit(0 if torch.cuda.is_available() else " + NO_GPU + ")";

    private final Map<String, String> environment;
    private final PrintStream log;

    /// @param environment where the Python is looked for
    /// @param log gets the one line that says why PyTorch isn't there, and what the script says
    TorchPeers(Map<String, String> environment, PrintStream log) {
        this.environment = environment;
        this.log = log;
    }

    /// Measures the cases of these names.
    ///
    /// @return what was measured; null where there is no PyTorch, which the log says
    @Nullable PeerFile measure(Collection<String> names) {
        Path python = python();
        if (python == null) {
            return missing("there is no python3 on the PATH; " + VARIABLE + " names one");
        }
        try {
            Path folder = Files.createTempDirectory("saccade-torch");
            try {
                String refusal = probe(python, folder);
                return refusal == null
                        ? run(python, folder, names)
                        : missing(python + ": " + refusal);
            } finally {
                delete(folder);
            }
        } catch (IOException e) {
            return missing(python + " can't be run: " + e.getMessage());
        } catch (InterruptedException _) {
            Thread.currentThread().interrupt();
            return missing("interrupted");
        }
    }

    private @Nullable PeerFile missing(String why) {
        log.println("saccade: PyTorch is not measured beside: " + why);
        return null;
    }

    @Nullable Path python() {
        String chosen = environment.getOrDefault(VARIABLE, "");
        if (!chosen.isEmpty()) {
            return Path.of(chosen);
        }
        Stream<Path> virtual =
                Stream.of(environment.getOrDefault("VIRTUAL_ENV", ""))
                        .filter(folder -> !folder.isEmpty())
                        .map(folder -> Path.of(folder, "bin", "python3"));
        Stream<Path> onPath =
                Arrays.stream(environment.getOrDefault("PATH", "").split(File.pathSeparator, -1))
                        .filter(folder -> !folder.isEmpty())
                        .map(folder -> Path.of(folder, "python3"));
        return Stream.concat(virtual, onPath).filter(Files::isExecutable).findFirst().orElse(null);
    }

    /// Why this Python can't measure; null when it can.
    private static @Nullable String probe(Path python, Path folder)
            throws IOException, InterruptedException {
        Path said = folder.resolve("probe.txt");
        Process process =
                new ProcessBuilder(python.toString(), "-c", PROBE)
                        .redirectErrorStream(true)
                        .redirectOutput(said.toFile())
                        .start();
        int status = process.waitFor();
        if (status == NO_GPU) {
            return "its PyTorch finds no GPU";
        }
        List<String> lines = Files.readAllLines(said);
        return status == 0 ? null : lines.isEmpty() ? "status " + status : lines.getLast().strip();
    }

    private @Nullable PeerFile run(Path python, Path folder, Collection<String> names)
            throws IOException, InterruptedException {
        Path script = extract(SCRIPT, folder);
        Path list = extract(Case.FULL, folder);
        Path out = folder.resolve("torch.jsonl");
        log.println("saccade: PyTorch measures the same cases with " + python);
        Process process =
                new ProcessBuilder(
                                python.toString(),
                                script.toString(),
                                "--cases",
                                list.toString(),
                                "--out",
                                out.toString(),
                                pattern(names))
                        .redirectErrorStream(true)
                        .start();
        try (InputStream said = process.getInputStream()) {
            new String(said.readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .forEach(line -> log.println("  " + line));
        }
        int status = process.waitFor();
        if (status != 0 || !Files.exists(out)) {
            return missing(SCRIPT + " ends with status " + status);
        }
        try {
            return PeerFile.read(out);
        } catch (InputException e) {
            return missing(String.valueOf(e.getMessage()));
        }
    }

    /// The names, and no others, as an expression of Python.
    static String pattern(Collection<String> names) {
        return names.stream()
                .map(name -> name.replaceAll("[^A-Za-z0-9/_-]", "\\\\$0"))
                .collect(Collectors.joining("|", "^(", ")$"));
    }

    private static Path extract(String resource, Path folder) throws IOException {
        Path target = folder.resolve(resource);
        try (InputStream stream = TorchPeers.class.getResourceAsStream(resource)) {
            if (stream == null) {
                throw new IllegalStateException("this build has no " + resource);
            }
            Files.copy(stream, target);
        }
        return target;
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
