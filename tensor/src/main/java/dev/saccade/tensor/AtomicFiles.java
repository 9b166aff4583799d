package dev.saccade.tensor;

import dev.saccade.engine.InputException;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.SequencedMap;
import java.util.concurrent.atomic.AtomicLong;

/// Files that appear whole or not at all: written beside their place, forced to disk, then renamed
/// over it. When that fails, the file of before is untouched and nothing is left behind.
public final class AtomicFiles {
    private static final int BUFFER_BYTES = 1 << 20;
    private static final AtomicLong COUNT = new AtomicLong();

    private AtomicFiles() {}

    /// What a file will hold.
    @FunctionalInterface
    public interface Content {
        /// Writes all of it.
        ///
        /// @param out buffered; closed by the caller
        void writeTo(OutputStream out) throws IOException;
    }

    /// Writes a file of these bytes.
    ///
    /// @throws InputException as [#write(Path, Content)]
    public static void write(Path file, byte[] bytes) {
        write(file, (OutputStream out) -> out.write(bytes));
    }

    /// Writes a file.
    ///
    /// @throws InputException naming the file and the cure, when the disk is full, or the folder is
    ///   missing or can't be written to
    public static void write(Path file, Content content) {
        SequencedMap<Path, Content> one = new LinkedHashMap<>();
        one.put(file, content);
        writeAll(one);
    }

    /// Writes several files. All are written and forced to disk beside their places before the
    /// first is renamed, in the map's order: what can go wrong for want of space or permission
    /// leaves every file of before untouched. (Renaming is instant, but one file at a time: put the
    /// one last that says the others are there.)
    ///
    /// @throws InputException as [#write(Path, Content)]
    public static void writeAll(SequencedMap<Path, Content> files) {
        SequencedMap<Path, Path> temporaries = new LinkedHashMap<>();
        try {
            for (Map.Entry<Path, Content> entry : files.entrySet()) {
                Path file = entry.getKey();
                Path temporary = temporaryFor(file);
                temporaries.put(file, temporary);
                attempt(file, () -> writeForced(temporary, entry.getValue()));
            }
            for (Path file : files.keySet()) {
                Path temporary = Objects.requireNonNull(temporaries.get(file));
                attempt(
                        file,
                        () ->
                                Files.move(
                                        temporary,
                                        file.toAbsolutePath(),
                                        StandardCopyOption.ATOMIC_MOVE,
                                        StandardCopyOption.REPLACE_EXISTING));
                temporaries.remove(file);
            }
        } finally {
            temporaries.values().forEach(AtomicFiles::remove);
        }
    }

    private static Path temporaryFor(Path file) {
        Path target = file.toAbsolutePath();
        Path name = target.getFileName();
        Path folder = target.getParent();
        if (name == null || folder == null) {
            throw new InputException(file.toString(), "is not a file's name", "name a file");
        }
        return folder.resolve(
                ".%s.%d-%d.tmp"
                        .formatted(name, ProcessHandle.current().pid(), COUNT.incrementAndGet()));
    }

    private interface Step {
        void run() throws IOException;
    }

    private static void attempt(Path file, Step step) {
        try {
            step.run();
        } catch (IOException e) {
            throw failure(file, Objects.requireNonNull(file.toAbsolutePath().getParent()), e);
        }
    }

    private static void writeForced(Path temporary, Content content) throws IOException {
        try (FileChannel channel =
                        FileChannel.open(
                                temporary,
                                StandardOpenOption.CREATE_NEW,
                                StandardOpenOption.WRITE);
                OutputStream out =
                        new BufferedOutputStream(Channels.newOutputStream(channel), BUFFER_BYTES)) {
            content.writeTo(out);
            out.flush();
            channel.force(true);
        }
    }

    private static InputException failure(Path file, Path folder, IOException e) {
        String message = e.getMessage() == null ? "" : e.getMessage();
        String lower = message.toLowerCase(Locale.ROOT);
        if (lower.contains("no space left") || lower.contains("quota exceeded")) {
            return new InputException(
                    file.toString(),
                    "can't be written, the disk is full",
                    "free space or choose another folder, then run it again",
                    e);
        }
        if (e instanceof AccessDeniedException || lower.contains("read-only file system")) {
            return new InputException(
                    file.toString(),
                    "can't be written, " + folder + " is read-only",
                    "choose a folder that can be written to, or change its permissions",
                    e);
        }
        if (e instanceof NoSuchFileException || e instanceof NotDirectoryException) {
            return new InputException(
                    file.toString(),
                    "can't be written, there is no folder " + folder,
                    "make it or choose another one",
                    e);
        }
        return new InputException(
                file.toString(),
                "can't be written (" + (message.isEmpty() ? e.toString() : message) + ")",
                "choose another place, then run it again",
                e);
    }

    private static void remove(Path temporary) {
        try {
            Files.deleteIfExists(temporary);
        } catch (IOException _) {
            // The failure that led here is the one to report.
        }
    }
}
