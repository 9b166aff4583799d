package dev.saccade.model;

import static org.junit.jupiter.api.Assumptions.abort;

import java.nio.file.Files;
import java.nio.file.Path;

/// Data that lies beside a checkout and is no part of it: real weights and golden values.
public final class SharedData {
    private SharedData() {}

    /// The folder `shared/data/<name>` of the nearest folder above that has one; the test is
    /// skipped where none has.
    public static Path require(String name) {
        Path relative = Path.of("shared", "data", name);
        Path start = Path.of("").toAbsolutePath();
        for (Path folder = start; folder != null; folder = folder.getParent()) {
            if (Files.isDirectory(folder.resolve(relative))) {
                return folder.resolve(relative);
            }
        }
        return abort("no " + relative + " in a folder above " + start);
    }
}
