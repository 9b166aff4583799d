package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class AtomicFilesTest {
    private static final byte[] OLD = "old".getBytes(StandardCharsets.UTF_8);
    private static final byte[] NEW = "new content".getBytes(StandardCharsets.UTF_8);

    @TempDir Path folder;

    private List<String> names() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(path -> path.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void writesAndReplaces() throws IOException {
        Path file = folder.resolve("a.json");
        AtomicFiles.write(file, OLD);
        assertThat(file).hasBinaryContent(OLD);
        AtomicFiles.write(file, NEW);
        assertThat(file).hasBinaryContent(NEW);
        assertThat(names()).containsExactly("a.json");
    }

    @Test
    void theOldFileStaysUntilTheNewOneIsWhole() throws IOException {
        Path file = folder.resolve("a.json");
        AtomicFiles.write(file, OLD);
        AtomicFiles.write(
                file,
                out -> {
                    out.write(NEW);
                    out.flush();
                    assertThat(file).hasBinaryContent(OLD);
                    assertThat(names()).hasSize(2);
                });
        assertThat(file).hasBinaryContent(NEW);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "No space left on device | the disk is full; free space",
                "Disk quota exceeded | the disk is full; free space",
                "Read-only file system | is read-only; choose a folder",
                "Input/output error | can't be written (Input/output error); choose another place",
            })
    void failuresNameTheCureAndLeaveNothing(String message, String expected) throws IOException {
        Path file = folder.resolve("a.json");
        AtomicFiles.write(file, OLD);
        assertThatThrownBy(() ->
                        AtomicFiles.write(
                                file,
                                out -> {
                                    out.write(NEW);
                                    throw new IOException(message);
                                }))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ": can't be written")
                .hasMessageContaining(expected)
                .hasCauseInstanceOf(IOException.class);
        assertThat(names()).containsExactly("a.json");
        assertThat(file).hasBinaryContent(OLD);
    }

    @Test
    void refusedAccess() {
        Path file = folder.resolve("a.json");
        assertThatThrownBy(() ->
                        AtomicFiles.write(
                                file,
                                _ -> {
                                    throw new AccessDeniedException(file.toString());
                                }))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("is read-only");
    }

    @Test
    void otherFailuresPassThroughAndLeaveNothing() throws IOException {
        assertThatThrownBy(() ->
                        AtomicFiles.write(
                                folder.resolve("a.json"),
                                _ -> {
                                    throw new IllegalStateException("mine");
                                }))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("mine");
        assertThat(names()).isEmpty();
    }

    @Test
    void placesThatDoNotExist() throws IOException {
        assertThatThrownBy(() -> AtomicFiles.write(folder.resolve("no/a.json"), NEW))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("there is no folder " + folder.resolve("no"));
        Path plain = Files.write(folder.resolve("plain"), OLD);
        assertThatThrownBy(() -> AtomicFiles.write(plain.resolve("a.json"), NEW))
                .isInstanceOf(InputException.class);
        Path full = Files.createDirectory(folder.resolve("full"));
        Files.write(full.resolve("x"), OLD);
        assertThatThrownBy(() -> AtomicFiles.write(full, NEW))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(full + ": can't be written");
        assertThatThrownBy(() -> AtomicFiles.write(Path.of("/"), NEW))
                .isInstanceOf(InputException.class);
        assertThat(names()).containsExactly("full", "plain");
    }

    /// One that can't be written leaves all of them as they were.
    @Test
    void severalFilesAppearTogetherOrNotAtAll() throws IOException {
        Path first = folder.resolve("first");
        Path second = folder.resolve("second");
        AtomicFiles.write(first, OLD);
        SequencedMap<Path, AtomicFiles.Content> files = new LinkedHashMap<>();
        files.put(first, out -> out.write(NEW));
        files.put(
                second,
                out -> {
                    throw new IOException("No space left on device");
                });
        assertThatThrownBy(() -> AtomicFiles.writeAll(files))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("second: can't be written, the disk is full");
        assertThat(Files.readAllBytes(first)).isEqualTo(OLD);
        try (Stream<Path> left = Files.list(folder)) {
            assertThat(left).containsExactly(first);
        }
        files.put(second, out -> out.write(OLD));
        AtomicFiles.writeAll(files);
        assertThat(Files.readAllBytes(first)).isEqualTo(NEW);
        assertThat(Files.readAllBytes(second)).isEqualTo(OLD);
    }
}
