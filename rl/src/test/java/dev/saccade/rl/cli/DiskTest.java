package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Runs on a small disk of their own (a tmpfs) that gets full or read-only.
final class DiskTest {
    private static final int BLOCK_BYTES = 4096;

    @TempDir Path temporary = Path.of("");
    private Path disk = Path.of("");
    private Path recipe = Path.of("");

    @BeforeEach
    void mountADisk() throws Exception {
        disk = Files.createDirectory(temporary.resolve("disk"));
        String refusal = mount("-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", disk.toString());
        assumeTrue(refusal.isEmpty(), () -> "no disk can be mounted here: " + refusal);
        recipe = TinyRun.write(temporary);
    }

    @AfterEach
    void unmount() throws Exception {
        new ProcessBuilder("umount", "-l", disk.toString()).start().waitFor();
    }

    /// Mounts something; what it says when it can't.
    private static String mount(String... arguments) throws InterruptedException {
        try {
            List<String> command = Stream.concat(Stream.of("mount"), Stream.of(arguments)).toList();
            Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
            String said =
                    new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            return process.waitFor() == 0 ? "" : "mount: " + said.strip();
        } catch (IOException e) {
            return String.valueOf(e.getMessage());
        }
    }

    private Captured start(Path run) {
        return Captured.run("train", recipe.toString(), "--out", run.toString());
    }

    /// Leaves so many bytes free on the disk.
    private Path fill(long free) throws IOException {
        FileStore store = Files.getFileStore(disk);
        long filler = Math.max(0, store.getUsableSpace() - free) / BLOCK_BYTES * BLOCK_BYTES;
        return Files.write(disk.resolve("filler"), new byte[(int) filler]);
    }

    private static long bytes(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            long bytes = 0;
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                bytes += (Files.size(file) + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
            }
            return bytes;
        }
    }

    private static void assertNothingHalfWritten(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            assertThat(files).noneMatch(file -> String.valueOf(file.getFileName()).startsWith("."));
        }
    }

    private static void assertSameRun(Path run, Path whole) throws IOException {
        String last = "checkpoints/step-" + TinyRun.STEPS;
        for (String name : List.of("model.safetensors", "optimizer.safetensors", "state.json")) {
            assertThat(Files.mismatch(run.resolve(last, name), whole.resolve(last, name)))
                    .as(name)
                    .isEqualTo(-1);
        }
    }

    @Test
    void aRunOnAFullDiskEndsWithOneLineAndGoesOnWhenThereIsSpace() throws IOException {
        Path whole = temporary.resolve("whole");
        start(whole).succeeds();
        long checkpoint = bytes(whole.resolve("checkpoints/step-" + TinyRun.STEPS));
        Path run = disk.resolve("run");
        Path filler = fill(checkpoint + checkpoint / 2 + 8 * BLOCK_BYTES);
        start(run).isBadInputAtLast("step-4", "full", "free space");
        assertNothingHalfWritten(disk);
        assertThat(run.resolve("checkpoints/step-2")).isDirectory();
        Files.delete(filler);
        Captured resumed = Captured.run("train", "--resume", run.toString());
        assertThat(resumed.succeeds()).contains("accuracy");
        assertThat(resumed.err()).contains("goes on from step 2 of " + TinyRun.STEPS);
        assertSameRun(run, whole);
    }

    @Test
    void whereverTheDiskGetsFullNothingIsHalfWritten() throws IOException {
        Path run = disk.resolve("run");
        for (int blocks = 0; blocks < 24; blocks += blocks < 8 ? 1 : 4) {
            Path filler = fill((long) blocks * BLOCK_BYTES);
            start(run).isBadInputAtLast("full");
            assertNothingHalfWritten(disk);
            if (Files.exists(run)) {
                assertThat(run.resolve("config.yaml")).isRegularFile();
                try (Stream<Path> files = Files.walk(run)) {
                    for (Path file : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
                        Files.delete(file);
                    }
                }
            }
            Files.delete(filler);
        }
    }

    @Test
    void aReadOnlyDiskIsNamed() throws Exception {
        Path run = disk.resolve("run");
        start(run).succeeds();
        assertThat(mount("-o", "remount,ro", disk.toString())).isEmpty();
        start(disk.resolve("new")).isBadInput("new: can't be written", "read-only");
        Captured.run("train", "--resume", run.toString())
                .isBadInput("run: can't be written", "read-only");
        Captured.run("report", run.toString()).isBadInput("report.html", "read-only");
        assertThat(disk.resolve("new")).doesNotExist();
    }
}
