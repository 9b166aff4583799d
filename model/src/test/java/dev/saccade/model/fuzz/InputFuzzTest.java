package dev.saccade.model.fuzz;

import static org.assertj.core.api.Assertions.assertThat;

import com.code_intelligence.jazzer.junit.FuzzTest;
import com.sun.management.ThreadMXBean;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.CheckpointConfig;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.tensor.SafetensorsReader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;

/// Any bytes where a user's file is expected: they are read, or refused with an [InputException] of
/// one line that names the file, the reason and the cure; within a second of processor time, and
/// without memory that a valid file of that length would not need.
///
/// In the build each method runs over the files in `InputFuzzTestInputs/<method>` (seeds, and what
/// fuzzing found). To search for more, see docs/reference/fuzzing.md.
final class InputFuzzTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final long MOST_NANOS = 1_000_000_000;
    private static final long FIXED_BYTES = 24L << 20;

    /// What a tree of JSON takes for each of its bytes, at most.
    private static final long TREE_BYTES = 250;

    private static final long MOST_PIXELS = 1 << 20;

    /// The decoded samples, the picture made of them and what a decoder keeps beside.
    private static final long BYTES_PER_PIXEL = 300;

    @TempDir static Path folder;

    private static final HostDevice DEVICE = HostDevice.open();
    private static final Kernels KERNELS = Kernels.of(DEVICE);

    @BeforeAll
    static void writeConfig() throws IOException {
        try (VisionLanguageModel model =
                VisionLanguageModel.initialize(VisionLanguageConfig.tiny(300, 261), KERNELS, 1)) {
            model.save(folder);
        }
        Files.delete(folder.resolve("model.safetensors"));
    }

    @AfterAll
    static void close() {
        DEVICE.close();
    }

    @FuzzTest
    void safetensors(byte[] data) throws IOException {
        Path file = Files.write(folder.resolve("fuzz.safetensors"), data);
        require(
                file.toString(),
                TREE_BYTES * data.length,
                () -> SafetensorsReader.open(file).close());
    }

    /// A shard of the name in the seeds lies beside the index.
    @FuzzTest
    void index(byte[] data) throws IOException {
        Files.write(folder.resolve("model.safetensors.index.json"), data);
        require(
                folder.toString(),
                TREE_BYTES * data.length,
                () -> VisionLanguageModel.load(folder, KERNELS).close());
    }

    /// In any layout: Hugging Face's, the remote code's, a language model alone.
    @FuzzTest
    void config(byte[] data) throws IOException {
        Path file = Files.createDirectories(folder.resolve("config")).resolve("config.json");
        Files.write(file, data);
        require(file.toString(), TREE_BYTES * data.length, () -> CheckpointConfig.read(file));
    }

    @FuzzTest
    void tokenizer(byte[] data) {
        String json = new String(data, StandardCharsets.UTF_8);
        require(
                "tokenizer.json",
                TREE_BYTES * data.length,
                () -> {
                    Tokenizer tokenizer = Tokenizer.parse(json, "tokenizer.json");
                    int[] ids = tokenizer.encode("It's 3 o'clock,\n  é\u0301 <|im_end|>!");
                    tokenizer.decode(ids);
                });
    }

    @FuzzTest
    void image(byte[] data) {
        require(
                "picture",
                BYTES_PER_PIXEL * MOST_PIXELS + 64L * data.length,
                () -> ImageLoader.decode(data, "picture", MOST_PIXELS));
    }

    private static void require(String name, long bytes, Runnable reading) {
        long allocated = THREADS.getCurrentThreadAllocatedBytes();
        long nanos = nanos(name, reading);
        allocated = THREADS.getCurrentThreadAllocatedBytes() - allocated;
        if (nanos > MOST_NANOS || allocated > FIXED_BYTES + bytes) {
            // Once more, without loading classes.
            allocated = THREADS.getCurrentThreadAllocatedBytes();
            nanos = nanos(name, reading);
            allocated = THREADS.getCurrentThreadAllocatedBytes() - allocated;
        }
        assertThat(nanos).as("nanoseconds of processor time").isLessThan(MOST_NANOS);
        assertThat(allocated).as("bytes of memory").isLessThan(FIXED_BYTES + bytes);
    }

    private static long nanos(String name, Runnable reading) {
        long begin = THREADS.getCurrentThreadCpuTime();
        try {
            reading.run();
        } catch (InputException e) {
            assertThat(e.getMessage())
                    .startsWith(name)
                    .contains(": ")
                    .contains("; ")
                    .matches(text -> text.chars().noneMatch(Character::isISOControl), "one line");
        }
        return THREADS.getCurrentThreadCpuTime() - begin;
    }
}
