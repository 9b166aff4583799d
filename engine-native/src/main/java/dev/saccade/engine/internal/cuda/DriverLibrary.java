package dev.saccade.engine.internal.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The shared library of the CUDA driver, found and found fit, or why not.
///
/// @param symbols its plain symbols; null where there is none
/// @param path where it was found
/// @param driverVersion 13000 for 13.0; 0 where there is none
/// @param reason why it can't be used; null when it can
record DriverLibrary(
        @Nullable SymbolLookup symbols, String path, int driverVersion, @Nullable String reason) {

    /// The oldest driver that has every function used here: 12.4 brought cuFuncGetParamInfo.
    static final int NEEDED_VERSION = 12_040;

    private static final String NAME = "libcuda.so.1";

    private static final List<String> USUAL_FOLDERS =
            List.of("/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib");

    /// Looks where the property `saccade.cuda.library` says, and only there; otherwise by name, as
    /// the system's loader does, then in the usual folders.
    static DriverLibrary find() {
        String chosen = System.getProperty("saccade.cuda.library");
        List<String> candidates = new ArrayList<>();
        if (chosen != null) {
            candidates.add(chosen);
        } else {
            candidates.add(NAME);
            USUAL_FOLDERS.forEach(folder -> candidates.add(folder + "/" + NAME));
        }
        for (String candidate : candidates) {
            Optional<SymbolLookup> symbols = open(candidate);
            if (symbols.isPresent()) {
                return examine(symbols.get(), candidate);
            }
        }
        String reason =
                chosen != null
                        ? "saccade.cuda.library=" + chosen + " can't be loaded"
                        : "NVIDIA's driver is not installed: no "
                                + NAME
                                + " on the library path or in "
                                + String.join(", ", USUAL_FOLDERS);
        return new DriverLibrary(null, "", 0, reason);
    }

    private static Optional<SymbolLookup> open(String candidate) {
        try {
            // The library stays loaded for the life of the process: it owns threads.
            return Optional.of(
                    candidate.contains("/")
                            ? SymbolLookup.libraryLookup(Path.of(candidate), Arena.global())
                            : SymbolLookup.libraryLookup(candidate, Arena.global()));
        } catch (IllegalArgumentException _) {
            return Optional.empty();
        }
    }

    /// cuDriverGetVersion is in every driver and works before cuInit, so that a driver too old for
    /// the rest can still be named.
    private static DriverLibrary examine(SymbolLookup symbols, String path) {
        Optional<MemorySegment> getVersion = symbols.find("cuDriverGetVersion");
        if (getVersion.isEmpty()) {
            return new DriverLibrary(
                    null, path, 0, path + " is not a CUDA driver: it has no cuDriverGetVersion");
        }
        int version;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_INT);
            int code =
                    (int)
                            Linker.nativeLinker()
                                    .downcallHandle(
                                            getVersion.get(),
                                            FunctionDescriptor.of(
                                                    ValueLayout.JAVA_INT, ValueLayout.ADDRESS))
                                    .invokeExact(out);
            version = out.get(ValueLayout.JAVA_INT, 0);
            if (code != CudaDriver.SUCCESS) {
                return new DriverLibrary(
                        null, path, 0, path + " does not work: its version query gives " + code);
            }
        } catch (Throwable t) {
            throw new AssertionError(t);
        }
        if (version < NEEDED_VERSION) {
            return new DriverLibrary(
                    null,
                    path,
                    version,
                    "the driver is too old: it supports CUDA "
                            + text(version)
                            + ", and "
                            + text(NEEDED_VERSION)
                            + " or newer is needed");
        }
        return new DriverLibrary(symbols, path, version, null);
    }

    /// 13.0 for 13000.
    static String text(int version) {
        return version / 1000 + "." + version % 1000 / 10;
    }
}
