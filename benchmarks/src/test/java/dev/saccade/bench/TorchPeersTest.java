package dev.saccade.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class TorchPeersTest {
    private final ByteArrayOutputStream said = new ByteArrayOutputStream();

    @TempDir private Path folder = Path.of("");

    private @Nullable PeerFile measure(Map<String, String> environment) {
        PrintStream log = new PrintStream(said, true, StandardCharsets.UTF_8);
        return new TorchPeers(environment, log).measure(List.of("gemm/1b/down", "copy/64MiB"));
    }

    /// A program that is run in Python's place.
    private String python(String script) throws IOException {
        Path file = folder.resolve("python3");
        Files.writeString(file, "#!/bin/sh\n" + script);
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
        return file.toString();
    }

    private List<String> lines() {
        return said.toString(StandardCharsets.UTF_8).lines().toList();
    }

    @Test
    void withoutPythonOneLineSaysSo() {
        assertThat(measure(Map.of("PATH", folder.toString()))).isNull();
        assertThat(lines())
                .containsExactly(
                        "saccade: PyTorch is not measured beside: there is no python3 on the PATH;"
                                + " SACCADE_PYTHON names one");
    }

    @Test
    void withoutPyTorchOneLineSaysWhatPythonSays() throws IOException {
        python("echo Traceback; echo \"ModuleNotFoundError: No module named 'torch'\"; exit 1");
        assertThat(measure(Map.of("PATH", "/nowhere:" + folder))).isNull();
        assertThat(lines()).hasSize(1);
        assertThat(lines().getFirst()).endsWith("ModuleNotFoundError: No module named 'torch'");
    }

    @Test
    void withoutAGpuOneLineSaysSo() throws IOException {
        String python = python("exit 3");
        assertThat(measure(Map.of(TorchPeers.VARIABLE, python))).isNull();
        assertThat(lines())
                .containsExactly(
                        "saccade: PyTorch is not measured beside: "
                                + python
                                + ": its PyTorch finds no GPU");
    }

    @Test
    void whatTheScriptMeasuresIsRead() throws IOException {
        // It gets the script, the list, the file to write and the pattern.
        String python =
                python(
                        """
                        [ "$1" = -c ] && exit 0
                        grep -q torch "$1" && grep -q gemm/1b/down "$3" || exit 9
                        echo "{\\"case\\": \\"gemm/1b/down\\", \\"peer\\": \\"$6\\", \\"microseconds\\": 5}" > "$5"
                        """);
        PeerFile file = Objects.requireNonNull(measure(Map.of(TorchPeers.VARIABLE, python)));
        assertThat(file.times().get("gemm/1b/down"))
                .containsExactly(
                        new TableRow.Other(
                                "^(gemm/1b/down|copy/64MiB)$",
                                new Race.Times(5, 5, 5),
                                Accuracy.UNKNOWN));
    }

    @Test
    void aScriptThatFailsIsALineBesideWhatItSaid() throws IOException {
        String python = python("[ \"$1\" = -c ] && exit 0\necho broken\nexit 4");
        assertThat(measure(Map.of(TorchPeers.VARIABLE, python))).isNull();
        assertThat(lines()).contains("  broken");
        assertThat(lines().getLast()).endsWith("torch_peers.py ends with status 4");
    }

    @Test
    void thePatternMatchesTheNamesAlone() {
        assertThat(TorchPeers.pattern(List.of("a/b-1", "c.d"))).isEqualTo("^(a/b-1|c\\.d)$");
    }
}
