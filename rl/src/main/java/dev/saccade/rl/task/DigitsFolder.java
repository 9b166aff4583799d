package dev.saccade.rl.task;

import dev.saccade.engine.InputException;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Puts the data set into its folder: written beside it, then moved into place at once.
final class DigitsFolder {
    private static final String MANIFEST = "manifest.json";
    private static final String IMAGES = "images";
    private static final String FORMAT = "saccade-digits-1";

    private static final JsonMapper JSON = JsonMapper.builder().build();

    private final Path folder;
    private final DigitRows rows;

    DigitsFolder(Path folder, DigitRows rows) {
        this.folder = folder.toAbsolutePath().normalize();
        this.rows = rows;
    }

    /// Whether the set had to be written.
    boolean write() {
        try {
            if (holdsThisSet()) {
                return false;
            }
            Path parent = folder.getParent();
            if (parent == null) {
                throw new InputException(folder.toString(), "is a root", "choose a folder");
            }
            Files.createDirectories(parent);
            Path partial = Files.createTempDirectory(parent, "." + folder.getFileName() + "-");
            try {
                writeAll(partial);
                Path old = partial.resolveSibling(partial.getFileName() + "-old");
                boolean replaces = Files.exists(folder);
                if (replaces) {
                    Files.move(folder, old, StandardCopyOption.ATOMIC_MOVE);
                }
                Files.move(partial, folder, StandardCopyOption.ATOMIC_MOVE);
                if (replaces) {
                    delete(old);
                }
            } finally {
                delete(partial);
            }
            return true;
        } catch (IOException | UncheckedIOException e) {
            throw new InputException(
                    folder.toString(),
                    "can't be written: " + e.getMessage(),
                    "check that the disk is neither full nor read-only",
                    e);
        }
    }

    /// True for a complete set of the same parameters; false for nothing, or for one that may be
    /// replaced.
    private boolean holdsThisSet() throws IOException {
        if (!Files.exists(folder)) {
            return false;
        }
        if (!Files.isDirectory(folder)) {
            throw keep("is not a folder");
        }
        Set<String> names = new HashSet<>();
        try (Stream<Path> entries = Files.list(folder)) {
            entries.forEach(entry -> names.add(String.valueOf(entry.getFileName())));
        }
        if (names.isEmpty()) {
            return false;
        }
        if (!names.remove(MANIFEST)) {
            throw keep("holds other files");
        }
        JsonNode manifest;
        try {
            manifest = JSON.readTree(Files.readString(folder.resolve(MANIFEST)));
        } catch (JacksonException e) {
            throw keep("has a " + MANIFEST + " that is not JSON");
        }
        if (!manifest.path("format").asString("").startsWith("saccade-digits-")) {
            throw keep("has a " + MANIFEST + " of something else");
        }
        boolean complete = names.remove(IMAGES);
        for (Map.Entry<String, JsonNode> file : manifest.path("files").properties()) {
            if (!names.remove(file.getKey())) {
                complete = false;
            } else if (!sha256(folder.resolve(file.getKey())).equals(file.getValue().asString())) {
                throw keep("holds %s, changed since it was written".formatted(file.getKey()));
            }
        }
        if (!names.isEmpty()) {
            throw keep("holds %s as well".formatted(names.iterator().next()));
        }
        return complete
                && parametersOf(manifest).equals(JSON.writeValueAsString(parameters()))
                && manifest.path("pictures").asLong(-1) == countPictures();
    }

    private InputException keep(String why) {
        return new InputException(
                folder.toString(), why, "move it away or choose another folder for the digits");
    }

    private void writeAll(Path target) throws IOException {
        Handwriting handwriting = Handwriting.read();
        Map<String, Object> digests = new LinkedHashMap<>();
        long pictures = 0;
        for (Map.Entry<String, Stream<DigitRows.DigitRow>> file : rows.files().entrySet()) {
            Path jsonLines = target.resolve(file.getKey());
            try (BufferedWriter out = Files.newBufferedWriter(jsonLines, StandardCharsets.UTF_8)) {
                Set<Path> made = new HashSet<>();
                for (DigitRows.DigitRow row :
                        (Iterable<DigitRows.DigitRow>) file.getValue()::iterator) {
                    out.write(JSON.writeValueAsString(row.json()));
                    out.write('\n');
                    if (row.isNew()) {
                        Path image = target.resolve(row.picture().path());
                        Path images = image.getParent();
                        if (images != null && made.add(images)) {
                            Files.createDirectories(images);
                        }
                        byte[] pixels = rows.paint(row.picture(), handwriting);
                        Files.write(
                                image, GreyPng.encode(DigitGrid.PIXELS, DigitGrid.PIXELS, pixels));
                        pictures++;
                    }
                }
            }
            digests.put(file.getKey(), sha256(jsonLines));
        }
        Map<String, Object> manifest = parameters();
        manifest.put("files", digests);
        manifest.put("pictures", pictures);
        // Last, so that a set without it is known to be incomplete.
        Files.writeString(
                target.resolve(MANIFEST),
                JSON.writerWithDefaultPrettyPrinter().writeValueAsString(manifest) + "\n");
    }

    /// What decides the set's content.
    private Map<String, Object> parameters() {
        Map<String, Object> parameters = new LinkedHashMap<>();
        parameters.put("format", FORMAT);
        parameters.put("handwriting_sha256", Handwriting.SHA256);
        parameters.put("seed", rows.seed());
        Map<String, Object> sizes = new LinkedHashMap<>();
        sizes.put("pretrain", rows.sizes().pretrain());
        sizes.put("sft", rows.sizes().sft());
        sizes.put("rl", rows.sizes().rl());
        sizes.put("connector", rows.sizes().connector());
        sizes.put("test_per_subject", rows.sizes().testPerSubject());
        sizes.put("validation_per_subject", rows.sizes().validationPerSubject());
        parameters.put("sizes", sizes);
        Map<String, Object> mixture = new LinkedHashMap<>();
        mixture.put("guess", rows.mixture().guess());
        mixture.put("plain", rows.mixture().plain());
        mixture.put("corrected", rows.mixture().corrected());
        mixture.put("checked", rows.mixture().checked());
        parameters.put("mixture", mixture);
        return parameters;
    }

    private static String parametersOf(JsonNode manifest) {
        Map<String, Object> parameters = new LinkedHashMap<>();
        for (String key : List.of("format", "handwriting_sha256", "seed", "sizes", "mixture")) {
            parameters.put(key, manifest.path(key));
        }
        return JSON.writeValueAsString(parameters);
    }

    private long countPictures() throws IOException {
        try (Stream<Path> files = Files.walk(folder.resolve(IMAGES))) {
            return files.filter(file -> file.toString().endsWith(".png")).count();
        }
    }

    private static String sha256(Path file) throws IOException {
        try {
            return HexFormat.of()
                    .formatHex(
                            MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    private static void delete(Path path) throws IOException {
        if (!Files.exists(path)) {
            return;
        }
        try (Stream<Path> files = Files.walk(path)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
