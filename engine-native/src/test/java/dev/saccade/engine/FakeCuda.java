package dev.saccade.engine;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// The fake CUDA driver (src/test/c/fake_cuda.c) and its controls. It is compiled at first use,
/// into the folder where this JVM looks for `libcuda.so.1`.
final class FakeCuda {
    static final String TAG = "fake-driver";

    private static @Nullable FakeCuda instance;

    private final MethodHandle reset;
    private final MethodHandle set;
    private final MethodHandle fail;
    private final MethodHandle calls;
    private final MethodHandle get;
    private final MethodHandle launch;

    private FakeCuda(Path library) {
        SymbolLookup symbols = SymbolLookup.libraryLookup(library, Arena.global());
        ValueLayout pointer = ValueLayout.ADDRESS;
        ValueLayout number = ValueLayout.JAVA_LONG;
        reset = link(symbols, "fake_reset", null);
        set = link(symbols, "fake_set", null, pointer, number);
        fail = link(symbols, "fake_fail", null, pointer, ValueLayout.JAVA_INT, number);
        calls = link(symbols, "fake_calls", number, pointer);
        get = link(symbols, "fake_get", number, pointer);
        launch = link(symbols, "fake_launch", number, number, pointer);
    }

    /// The fake driver as after a reboot; skips the test where it can't be had.
    static FakeCuda require() {
        String folder = System.getProperty("saccade.cuda.fake");
        assumeTrue(folder != null, "the fake driver has a test run of its own (see the pom)");
        if (instance == null) {
            instance = new FakeCuda(library(Path.of(Objects.requireNonNull(folder))));
        }
        instance.call(instance.reset);
        return instance;
    }

    private static Path library(Path folder) {
        Path library = folder.resolve("libcuda.so.1");
        Path source = Path.of("src/test/c/fake_cuda.c").toAbsolutePath();
        try {
            if (!Files.exists(library)
                    || Files.getLastModifiedTime(library)
                                    .compareTo(Files.getLastModifiedTime(source))
                            < 0) {
                Path made = Files.createTempFile(folder, "fake", ".so");
                compile(
                        List.of("-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
                        source,
                        made);
                Files.move(made, library, StandardCopyOption.ATOMIC_MOVE);
            }
            return library;
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    /// Compiles C against the real cuda.h with every warning an error; skips the test where there
    /// is no gcc or no cuda.h.
    static void compile(List<String> options, Path source, Path target) {
        List<String> command =
                new ArrayList<>(List.of("gcc", "-O1", "-Wall", "-Wextra", "-Werror"));
        command.addAll(options);
        command.addAll(List.of("-I", header().toString(), source.toString(), "-o"));
        command.add(target.toString());
        String output = run(command);
        if (!output.isEmpty()) {
            throw new AssertionError(output);
        }
    }

    /// C source after the preprocessor.
    static String preprocess(Path source) {
        return run(List.of("gcc", "-E", "-P", "-I", header().toString(), source.toString()));
    }

    private static Path header() {
        Path folder =
                Stream.of(System.getenv("CUDA_HOME"), System.getenv("CUDA_PATH"), "/usr/local/cuda")
                        .filter(Objects::nonNull)
                        .map(home -> Path.of(home, "include"))
                        .filter(candidate -> Files.exists(candidate.resolve("cuda.h")))
                        .findFirst()
                        .orElse(null);
        assumeTrue(folder != null, "no cuda.h in /usr/local/cuda/include or below CUDA_HOME");
        return Objects.requireNonNull(folder);
    }

    /// What a command writes; skips the test where there is no such command.
    static String run(List<String> command) {
        try {
            Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
            return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            assumeTrue(false, "can't run " + command.getFirst() + ": " + e.getMessage());
            throw new AssertionError(e);
        }
    }

    private static MethodHandle link(
            SymbolLookup symbols, String name, @Nullable MemoryLayout result, MemoryLayout... of) {
        return Linker.nativeLinker()
                .downcallHandle(
                        symbols.findOrThrow(name),
                        result == null
                                ? FunctionDescriptor.ofVoid(of)
                                : FunctionDescriptor.of(result, of));
    }

    private Object call(MethodHandle function, Object... arguments) {
        try (Arena arena = Arena.ofConfined()) {
            Object[] natives = arguments.clone();
            for (int i = 0; i < natives.length; i++) {
                if (natives[i] instanceof String text) {
                    natives[i] = arena.allocateFrom(text);
                }
            }
            Object result = function.invokeWithArguments(natives);
            return result == null ? 0L : result;
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
    }

    /// Sets a property of the machine: see fake_set.
    FakeCuda set(String what, long value) {
        call(set, what, value);
        return this;
    }

    /// Lets a function, by the name the header's macros give it, fail once after `after` more
    /// calls.
    void fail(String function, int code, long after) {
        call(fail, function, code, after);
    }

    /// How often a function was called since the reset.
    long calls(String function) {
        return (long) call(calls, function);
    }

    /// A count of objects or bytes: see fake_get.
    long get(String what) {
        return (long) call(get, what);
    }

    /// A number of a launch that has run: see fake_launch.
    long launch(long index, String what) {
        return (long) call(launch, index, what);
    }

    /// Fails when the engine has left something behind.
    void assertNothingLeft() {
        for (String kind :
                List.of(
                        "device allocations",
                        "host allocations",
                        "contexts",
                        "streams",
                        "events",
                        "graphs",
                        "executables",
                        "libraries")) {
            if (get(kind) != 0) {
                throw new AssertionError(get(kind) + " " + kind + " left behind");
            }
        }
    }
}
