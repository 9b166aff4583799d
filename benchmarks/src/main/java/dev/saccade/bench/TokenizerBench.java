package dev.saccade.bench;

import dev.saccade.model.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// Text to ids and back on one thread. The counter `megabytes` is the rate: MB of UTF-8 a second.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 4, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class TokenizerBench {

    /// A folder with a tokenizer, or with `tokenizer.json.gz`; by default Qwen2.5's beside the
    /// repository.
    @Param("../shared/data/qwen2.5-tokenizer")
    public String tokenizer = "";

    /// A text, or a folder whose Markdown files are the text; by default this repository's.
    @Param("docs")
    public String text = "";

    private @Nullable Tokenizer loaded;
    private String content = "";
    private int[] ids = {};
    private double megabytesOfText;

    /// What was done in an iteration.
    @AuxCounters(AuxCounters.Type.OPERATIONS)
    @State(Scope.Thread)
    public static class Rate {
        /// MB of UTF-8.
        public double megabytes;

        @Setup(org.openjdk.jmh.annotations.Level.Iteration)
        public void reset() {
            megabytes = 0;
        }
    }

    /// Reads the files and checks that decoding gives the text back.
    @Setup
    public void setUp() throws IOException {
        Path home = Path.of(Objects.requireNonNullElse(System.getenv("SACCADE_HOME"), ""));
        loaded = load(home.resolve(tokenizer).normalize());
        content = read(home.resolve(text));
        megabytesOfText = content.getBytes(StandardCharsets.UTF_8).length / 1e6;
        ids = loaded.encode(content);
        if (!loaded.decode(ids).equals(Normalizer.normalize(content, Normalizer.Form.NFC))) {
            throw new IllegalStateException("wrong result: decoding gives another text");
        }
    }

    @Benchmark
    public int[] encode(Rate rate) {
        rate.megabytes += megabytesOfText;
        return tokenizer().encode(content);
    }

    @Benchmark
    public String decode(Rate rate) {
        rate.megabytes += megabytesOfText;
        return tokenizer().decode(ids);
    }

    private Tokenizer tokenizer() {
        return Objects.requireNonNull(loaded);
    }

    private static Tokenizer load(Path folder) throws IOException {
        Path packed = folder.resolve("tokenizer.json.gz");
        if (!Files.exists(packed)) {
            return Tokenizer.load(folder);
        }
        try (InputStream file = new GZIPInputStream(Files.newInputStream(packed))) {
            return Tokenizer.parse(
                    new String(file.readAllBytes(), StandardCharsets.UTF_8), packed.toString());
        }
    }

    private static String read(Path place) throws IOException {
        if (!Files.isDirectory(place)) {
            return Files.readString(place);
        }
        StringBuilder content = new StringBuilder();
        try (Stream<Path> files = Files.walk(place)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".md")).sorted().toList()) {
                content.append(Files.readString(file));
            }
        }
        return content.toString();
    }
}
