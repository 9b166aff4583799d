package dev.saccade.rl.run;

import dev.saccade.engine.InputException;
import dev.saccade.rl.metrics.MetricsLog;
import dev.saccade.rl.metrics.TensorBoardWriter;
import dev.saccade.rl.recipe.DeviceKind;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.tensor.AtomicFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.LongPredicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// The folder of a run, locked while a process works on it. What a reader may see appears whole, by
/// renaming; names that begin with a dot are unfinished and are removed when the run is opened.
final class RunDirectory implements AutoCloseable {
    private static final Pattern CHECKPOINT = Pattern.compile("step-(\\d{1,18})");
    private static final Pattern ROLLOUTS = Pattern.compile("(?:eval-)?step-(\\d{1,18})\\.jsonl");
    private static final String LOCK = "run.lock";
    private static final String CONFIG = "config.yaml";

    private final Path folder;
    private final FileChannel channel;
    private final FileLock lock;

    private RunDirectory(Path folder, FileChannel channel, FileLock lock) {
        this.folder = folder;
        this.channel = channel;
        this.lock = lock;
    }

    /// Makes and locks the folder of a new run.
    ///
    /// @throws InputException when there is something in it, or it can't be written
    static RunDirectory create(Path folder, Recipe recipe) {
        requireUnused(folder);
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            throw unwritable(folder, e);
        }
        RunDirectory run;
        try {
            run = lock(folder);
        } catch (InputException e) {
            removeIfEmpty(folder);
            throw e;
        }
        try {
            // Once more: another process may have had the lock before.
            requireUnused(folder);
        } catch (RuntimeException e) {
            run.close();
            throw e;
        }
        try {
            // A folder with a recipe is a run; one that was killed before is still unused.
            AtomicFiles.write(
                    folder.resolve(CONFIG), recipe.toYaml().getBytes(StandardCharsets.UTF_8));
            run.makeFolders();
            return run;
        } catch (RuntimeException e) {
            run.discard();
            throw e;
        }
    }

    private static void removeIfEmpty(Path folder) {
        try {
            Files.delete(folder);
        } catch (IOException _) {
            // It holds something of somebody else's, or stays empty.
            return;
        }
    }

    private static void requireUnused(Path folder) {
        if (Files.isRegularFile(folder)) {
            throw new InputException(folder.toString(), "is a file", "name a folder for the run");
        }
        List<String> found = names(folder);
        if (found.contains(CONFIG)) {
            throw new InputException(
                    folder.toString(),
                    "holds a run",
                    "choose another folder, or go on with it: --resume " + folder);
        }
        found.removeIf(name -> name.equals(LOCK) || name.startsWith("." + CONFIG));
        if (!found.isEmpty()) {
            throw new InputException(
                    folder.toString(),
                    "is not empty (it holds " + found.getFirst() + ")",
                    "choose another folder");
        }
    }

    /// Closes the folder of a run that could not begin and removes it, so that the same command can
    /// be given again. What can't be removed stays.
    void discard() {
        close();
        try {
            delete(folder.resolve(CONFIG));
            delete(folder);
        } catch (InputException _) {
            // What kept the run from beginning is the fault to report.
            return;
        }
    }

    /// Locks the folder of a run that was begun, and removes what was left unfinished.
    static RunDirectory open(Path folder) {
        requireRun(folder);
        RunDirectory run = lock(folder);
        try {
            for (Path place : List.of(folder, run.checkpoints(), run.rollouts())) {
                for (String name : names(place)) {
                    if (name.startsWith(".")) {
                        delete(place.resolve(name));
                    }
                }
            }
            run.makeFolders();
            return run;
        } catch (RuntimeException e) {
            run.close();
            throw e;
        }
    }

    private static void requireRun(Path folder) {
        if (!Files.isRegularFile(folder.resolve(CONFIG))) {
            throw new InputException(
                    folder.toString(),
                    Files.isDirectory(folder)
                            ? "is not a run: it has no " + CONFIG
                            : "there is no such folder",
                    "name the folder of a run");
        }
    }

    private static RunDirectory lock(Path folder) {
        Path file = folder.resolve(LOCK);
        FileChannel channel;
        try {
            channel =
                    FileChannel.open(
                            file,
                            StandardOpenOption.CREATE,
                            StandardOpenOption.READ,
                            StandardOpenOption.WRITE);
        } catch (IOException e) {
            throw unwritable(folder, e);
        }
        try {
            FileLock lock = tryLock(channel);
            if (lock == null) {
                String holder = Files.readString(file, StandardCharsets.UTF_8).strip();
                throw new InputException(
                        folder.toString(),
                        "is in use by process " + (holder.isEmpty() ? "(starting)" : holder),
                        "wait or stop it");
            }
            byte[] process =
                    (ProcessHandle.current().pid() + "\n").getBytes(StandardCharsets.UTF_8);
            channel.truncate(0);
            channel.write(ByteBuffer.wrap(process), 0);
            return new RunDirectory(folder, channel, lock);
        } catch (IOException e) {
            // The lock is held, and there is no room for the process's number.
            delete(file);
            closeQuietly(channel);
            throw unwritable(folder, e);
        } catch (RuntimeException e) {
            closeQuietly(channel);
            throw e;
        }
    }

    private static @Nullable FileLock tryLock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock();
        } catch (OverlappingFileLockException _) {
            // This process holds it, in another run.
            return null;
        }
    }

    private static void closeQuietly(FileChannel channel) {
        try {
            channel.close();
        } catch (IOException _) {
            // Nothing was written through it.
            return;
        }
    }

    private static InputException unwritable(Path folder, IOException cause) {
        return new InputException(
                folder.toString(),
                "can't be written (" + reason(cause) + ")",
                "check that the disk is neither full nor read-only, or choose another folder",
                cause);
    }

    private static String reason(IOException cause) {
        if (cause instanceof FileSystemException problem && problem.getReason() != null) {
            return problem.getReason();
        }
        String message = String.valueOf(cause.getMessage());
        return switch (cause) {
            case AccessDeniedException _ -> "access denied";
            case FileAlreadyExistsException _ -> "a file has its name";
            case NoSuchFileException _ -> "no folder can be made there";
            default -> message.lines().findFirst().orElse("no reason given");
        };
    }

    private static List<String> names(Path folder) {
        if (!Files.isDirectory(folder)) {
            return new ArrayList<>();
        }
        try (Stream<Path> entries = Files.list(folder)) {
            List<String> names = new ArrayList<>();
            entries.forEach(entry -> names.add(String.valueOf(entry.getFileName())));
            names.sort(Comparator.naturalOrder());
            return names;
        } catch (IOException e) {
            throw new InputException(
                    folder.toString(),
                    "can't be read (" + reason(e) + ")",
                    "check its permissions",
                    e);
        }
    }

    private void makeFolders() {
        try {
            Files.createDirectories(checkpoints());
            Files.createDirectories(rollouts());
        } catch (IOException e) {
            throw unwritable(folder, e);
        }
    }

    Path folder() {
        return folder;
    }

    /// The recipe as it was resolved when the run began.
    Recipe recipe() {
        return recipe(folder);
    }

    /// The recipe of the run in a folder, which need not be locked. A run that names no device was
    /// made when there was only the CPU.
    static Recipe recipe(Path folder) {
        requireRun(folder);
        Recipe recipe = Recipe.read(folder.resolve(CONFIG));
        return recipe.device() == null ? recipe.withDevice(DeviceKind.CPU) : recipe;
    }

    Path checkpoints() {
        return folder.resolve("checkpoints");
    }

    Path rollouts() {
        return folder.resolve("rollouts");
    }

    Path metrics() {
        return folder.resolve(MetricsLog.FILE_NAME);
    }

    Path checkpoint(long step) {
        return checkpoints().resolve("step-" + step);
    }

    /// The steps of the checkpoints there are, the oldest first.
    List<Long> checkpointSteps() {
        return List.copyOf(numbered(checkpoints(), CHECKPOINT).keySet());
    }

    private static SortedMap<Long, List<Path>> numbered(Path place, Pattern pattern) {
        SortedMap<Long, List<Path>> numbered = new TreeMap<>();
        for (String name : names(place)) {
            Matcher matcher = pattern.matcher(name);
            if (matcher.matches()) {
                numbered.computeIfAbsent(Long.valueOf(matcher.group(1)), _ -> new ArrayList<>())
                        .add(place.resolve(name));
            }
        }
        return numbered;
    }

    /// Writes a checkpoint's files.
    @FunctionalInterface
    interface Contents {
        void write(Path checkpoint);
    }

    /// Saves a checkpoint, whole or not at all.
    Path save(long step, Contents contents) {
        Path target = checkpoint(step);
        Path partial = checkpoints().resolve(".step-" + step);
        try {
            Files.createDirectories(partial);
            contents.write(partial);
            Files.move(partial, target, StandardCopyOption.ATOMIC_MOVE);
            return target;
        } catch (IOException e) {
            throw unwritable(target, e);
        } finally {
            if (Files.exists(partial)) {
                delete(partial);
            }
        }
    }

    /// Removes the checkpoints of these steps.
    void removeCheckpoints(LongPredicate steps) {
        for (long step : checkpointSteps()) {
            if (steps.test(step)) {
                Path hidden = checkpoints().resolve(".removed-step-" + step);
                try {
                    Files.move(checkpoint(step), hidden, StandardCopyOption.ATOMIC_MOVE);
                } catch (IOException e) {
                    throw unwritable(checkpoint(step), e);
                }
                delete(hidden);
            }
        }
    }

    /// Removes the rollouts of later steps, and what is written when a run ends.
    void removeAfter(long step) {
        numbered(rollouts(), ROLLOUTS).tailMap(step + 1).values().stream()
                .flatMap(List::stream)
                .forEach(RunDirectory::delete);
        delete(folder.resolve("summary.json"));
        delete(folder.resolve("report.html"));
        if (step == 0) {
            delete(folder.resolve(TensorBoardWriter.FOLDER_NAME));
        }
    }

    private static void delete(Path path) {
        if (!Files.exists(path)) {
            return;
        }
        try (Stream<Path> files = Files.walk(path)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw unwritable(path, e);
        } catch (UncheckedIOException e) {
            throw unwritable(path, new IOException(e.getMessage(), e));
        }
    }

    void writeSummary(Summary summary) {
        AtomicFiles.write(
                folder.resolve("summary.json"), summary.toJson().getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void close() {
        try {
            if (lock.isValid()) {
                lock.release();
            }
            channel.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
