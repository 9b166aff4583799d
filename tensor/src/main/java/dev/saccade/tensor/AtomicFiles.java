package dev.saccade.tensor;

import dev.saccade.engine.InputException;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/// Files that appear whole or not at all: written beside their place, forced to disk, then renamed.
public final class AtomicFiles {
    private static final int BUFFER_BYTES = 1 << 20;

    private AtomicFiles() {}

    /// Writes the content of a file.
    @FunctionalInterface
    public interface Content {
        /// Writes everything to `out`, which is buffered.
        void writeTo(OutputStream out) throws IOException;
    }

    /// Writes a file of these bytes.
    public static void write(Path file, byte[] bytes) {
        write(file, (OutputStream out) -> out.write(bytes));
    }

    /// Writes a file.
    ///
    /// @throws InputException naming the file when the disk is full, the folder is read-only or missing;
    ///     an older file of that name is then untouched
    public static void write(Path file, Content content) {
        Path absolute = file.toAbsolutePath();
        Path folder = absolute.getParent();
        if (folder == null) {
            throw new InputException(file.toString(), "is not a file", "name a file in a folder");
        }
        Path temporary =
                folder.resolve("." + absolute.getFileName() + "." + ProcessHandle.current().pid());
        try {
            try (FileChannel channel =
                    FileChannel.open(
                            temporary,
                            StandardOpenOption.CREATE,
                            StandardOpenOption.WRITE,
                            StandardOpenOption.TRUNCATE_EXISTING)) {
                OutputStream out =
                        new BufferedOutputStream(Channels.newOutputStream(channel), BUFFER_BYTES);
                content.writeTo(out);
                out.flush();
                channel.force(true);
            }
            Files.move(
                    temporary,
                    absolute,
                    StandardCopyOption.ATOMIC_MOVE,
                    StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            remove(temporary);
            throw new InputException(
                    file.toString(),
                    "can't be written (" + reason(e) + ")",
                    "make room or choose a writable folder, then run again",
                    e);
        } catch (RuntimeException | Error e) {
            remove(temporary);
            throw e;
        }
    }

    private static String reason(IOException e) {
        String message = e.getMessage();
        return message == null ? e.getClass().getSimpleName() : message;
    }

    private static void remove(Path temporary) {
        try {
            Files.deleteIfExists(temporary);
        } catch (IOException e) {
            // The first failure is the one to report.
            return;
        }
    }
}
