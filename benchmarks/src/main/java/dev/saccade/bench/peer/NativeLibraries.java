package dev.saccade.bench.peer;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/// Where NVIDIA's libraries can be: by name, as the system's loader finds them; in CUDA toolkits;
/// and in the Python packages that PyTorch depends on.
final class NativeLibraries {
    private static final List<String> FOLDERS =
            List.of(
                    "/usr/local/cuda/lib64",
                    "/usr/local/cuda-*/lib64",
                    "/usr/lib/x86_64-linux-gnu",
                    "/usr/local/lib");

    /// Python installations and virtual environments, up to their `lib`.
    private static final List<String> PYTHONS =
            List.of(
                    "/usr",
                    "/usr/local",
                    "/opt/*",
                    "/opt/*/*",
                    "/venv",
                    System.getProperty("user.home", "") + "/*");

    private NativeLibraries() {}

    /// Files and names to try for a library, in this order.
    ///
    /// @param soname as `libcublasLt.so.13`
    /// @param chosen the user's choice, a file or a folder, and then the only one; empty for none
    static List<String> candidates(String soname, String chosen) {
        List<String> found = new ArrayList<>();
        if (!chosen.isEmpty()) {
            Path path = Path.of(chosen);
            if (Files.isDirectory(path)) {
                found.add(path.resolve(soname).toString());
            } else if (path.endsWith(soname)) {
                found.add(chosen);
            }
            return found;
        }
        found.add(soname);
        for (Path folder : folders()) {
            Path file = folder.resolve(soname);
            if (Files.isRegularFile(file)) {
                found.add(file.toString());
            }
        }
        return found;
    }

    /// The user's choice: a system property, or else an environment variable.
    static String choice(String property, String variable) {
        String value = System.getProperty(property);
        if (value == null) {
            value = System.getenv(variable);
        }
        return value == null ? "" : value;
    }

    /// Folders with shared libraries of NVIDIA's.
    private static Set<Path> folders() {
        Set<Path> folders = new LinkedHashSet<>();
        FOLDERS.forEach(pattern -> folders.addAll(matches(pattern)));
        List<String> roots = new ArrayList<>();
        for (String variable : List.of("VIRTUAL_ENV", "CONDA_PREFIX")) {
            String root = System.getenv(variable);
            if (root != null && !root.isEmpty()) {
                roots.add(root);
            }
        }
        roots.addAll(PYTHONS);
        roots.add(System.getProperty("user.home") + "/.local");
        for (String root : roots) {
            for (String environment : List.of("", "/.venv", "/venv")) {
                for (String packages : List.of("site-packages", "dist-packages")) {
                    folders.addAll(
                            matches(
                                    root
                                            + environment
                                            + "/lib/python3*/"
                                            + packages
                                            + "/nvidia/*/lib"));
                }
            }
        }
        return folders;
    }

    /// The folders that match a path in which a part may contain `*`.
    static List<Path> matches(String pattern) {
        List<Path> paths = List.of(Path.of("/"));
        for (String part : pattern.split("/", -1)) {
            if (part.isEmpty()) {
                continue;
            }
            List<Path> next = new ArrayList<>();
            for (Path path : paths) {
                if (part.contains("*")) {
                    next.addAll(children(path, part));
                } else if (Files.isDirectory(path.resolve(part))) {
                    next.add(path.resolve(part));
                }
            }
            paths = next;
        }
        return paths;
    }

    private static List<Path> children(Path folder, String pattern) {
        List<Path> children = new ArrayList<>();
        try (DirectoryStream<Path> stream = Files.newDirectoryStream(folder, pattern)) {
            for (Path child : stream) {
                if (Files.isDirectory(child)) {
                    children.add(child);
                }
            }
        } catch (IOException | InvalidPathException _) {
            return List.of(); // a folder that may not be read holds nothing for us
        }
        children.sort(null);
        return children;
    }
}
