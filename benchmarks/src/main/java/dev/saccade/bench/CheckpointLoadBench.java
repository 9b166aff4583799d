package dev.saccade.bench;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.tensor.Parameter;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// Loading a sharded checkpoint, beside plain copies of the same files into newly allocated memory
/// by one thread. The counter `gigabytes` is the rate: GB of the files a second, whatever the
/// weights become on the device. An iteration is one load; the device and the memory are new.
///
/// The checkpoint is written into a temporary folder and deleted at the end. With `cache=cold` the
/// system is asked before each load to forget the files' pages (by `dd` with `oflag=nocache`).
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 2, time = 1, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 1, timeUnit = TimeUnit.MILLISECONDS)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class CheckpointLoadBench {
    private static final int COPY_BYTES = 8 << 20;

    /// Where the weights go: `cpu` (as F32) or `cuda` (as BF16).
    @Param("cpu")
    public String device = "";

    /// The type of the weights in the files.
    @Param({"BF16", "F32"})
    public String stored = "";

    /// The size of the files, in GB.
    @Param("2")
    public double size;

    /// Whether the files' pages are in memory before: `warm` or `cold`.
    @Param({"warm", "cold"})
    public String cache = "";

    /// The folder in which the temporary one is made; the system's when empty. A cold read measures
    /// its disk.
    @Param("")
    public String under = "";

    private @Nullable Path folder;
    private @Nullable RandomCheckpoint checkpoint;
    private double gigabytes;
    private @Nullable Device opened;
    private @Nullable HostDevice host;
    private final List<AutoCloseable> made = new ArrayList<>();

    /// What was done in an iteration.
    @AuxCounters(AuxCounters.Type.OPERATIONS)
    @State(Scope.Thread)
    public static class Rate {
        /// GB of files.
        public double gigabytes;

        @Setup(Level.Iteration)
        public void reset() {
            gigabytes = 0;
        }
    }

    /// Writes the checkpoint, loads it once and compares every weight.
    @Setup
    public void setUp() throws IOException {
        String name = "saccade-load";
        folder =
                under.isEmpty()
                        ? Files.createTempDirectory(name)
                        : Files.createTempDirectory(Path.of(under), name);
        checkpoint = RandomCheckpoint.write(folder, DType.valueOf(stored), (long) (size * 1e9));
        long bytes = 0;
        for (Path file : checkpoint.files()) {
            bytes += Files.size(file);
        }
        gigabytes = bytes / 1e9;
        try (Device used = device();
                VisionLanguageModel loaded = VisionLanguageModel.load(folder, Kernels.of(used))) {
            for (Parameter parameter : loaded.parameters()) {
                float[] values = parameter.value().toFloats();
                for (int i = 0; i < values.length; i++) {
                    if (values[i] != checkpoint.value(parameter.name(), i)) {
                        throw new IllegalStateException(
                                "wrong result: element %d of %s is %s"
                                        .formatted(i, parameter.name(), values[i]));
                    }
                }
            }
        }
    }

    private Device device() {
        return switch (device) {
            case "cpu" -> HostDevice.open();
            case "cuda" -> CudaDevice.open(0);
            default ->
                    throw new InputException(
                            "device=" + device, "there is no such device", "use cpu or cuda");
        };
    }

    /// Opens the device, and for a cold load drops the pages.
    @Setup(Level.Invocation)
    public void before() throws IOException, InterruptedException {
        opened = device();
        host = HostDevice.open(1);
        switch (cache) {
            case "warm" -> {}
            case "cold" -> {
                for (Path file : checkpoint().files()) {
                    drop(file);
                }
            }
            default -> throw new InputException("cache=" + cache, "is neither", "use warm or cold");
        }
    }

    /// Has the system write a file's pages out and forget them; the file stays as it is.
    private static void drop(Path file) throws IOException, InterruptedException {
        Process dd =
                new ProcessBuilder(
                                "dd",
                                "of=" + file,
                                "oflag=nocache",
                                "conv=notrunc,fdatasync",
                                "count=0",
                                "status=none")
                        .inheritIO()
                        .start();
        if (dd.waitFor() != 0) {
            throw new IllegalStateException("dd can't drop the pages of " + file);
        }
    }

    /// Closes what was made; freeing isn't part of the time.
    @TearDown(Level.Invocation)
    public void after() throws Exception {
        for (AutoCloseable each : made) {
            each.close();
        }
        made.clear();
        Objects.requireNonNull(host).close();
        Objects.requireNonNull(opened).close();
    }

    @TearDown
    public void tearDown() throws IOException {
        try (Stream<Path> files = Files.list(Objects.requireNonNull(folder))) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(folder);
    }

    private RandomCheckpoint checkpoint() {
        return Objects.requireNonNull(checkpoint);
    }

    /// The model on the device, all copies done.
    @Benchmark
    public VisionLanguageModel load(Rate rate) {
        Device target = Objects.requireNonNull(opened);
        VisionLanguageModel loaded =
                VisionLanguageModel.load(checkpoint().folder(), Kernels.of(target));
        target.synchronize();
        made.add(loaded);
        rate.gigabytes += gigabytes;
        return loaded;
    }

    /// The system's `read`, 8 MiB a call.
    @Benchmark
    public List<AutoCloseable> read(Rate rate) throws IOException {
        return copy(
                rate,
                (channel, to) -> {
                    for (long done = 0; done < to.byteSize(); ) {
                        long part = Math.min(COPY_BYTES, to.byteSize() - done);
                        int count = channel.read(to.asSlice(done, part).asByteBuffer(), done);
                        if (count < 0) {
                            throw new IllegalStateException("the file has become shorter");
                        }
                        done += count;
                    }
                });
    }

    /// One copy out of a mapping of each file.
    @Benchmark
    public List<AutoCloseable> mapped(Rate rate) throws IOException {
        return copy(
                rate,
                (channel, to) -> {
                    try (Arena arena = Arena.ofConfined()) {
                        to.copyFrom(
                                channel.map(
                                        FileChannel.MapMode.READ_ONLY, 0, to.byteSize(), arena));
                    }
                });
    }

    @FunctionalInterface
    private interface Copy {
        void fill(FileChannel channel, MemorySegment to) throws IOException;
    }

    private List<AutoCloseable> copy(Rate rate, Copy copy) throws IOException {
        for (Path file : checkpoint().files()) {
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
                long bytes = channel.size();
                DeviceBuffer to = Objects.requireNonNull(host).allocate(bytes);
                made.add(to);
                copy.fill(channel, HostMemory.segment(to.address(), bytes));
            }
        }
        rate.gigabytes += gigabytes;
        return made;
    }
}
