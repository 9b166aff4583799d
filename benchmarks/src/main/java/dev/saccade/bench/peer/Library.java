package dev.saccade.bench.peer;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// A shared library that was loaded; it stays loaded as long as the process lives.
///
/// @param symbols its functions
/// @param path the file, or the name by which the system's loader found it
record Library(SymbolLookup symbols, String path) {
    private static final Linker LINKER = Linker.nativeLinker();

    /// Loads the first of `sonames` that loads from anywhere it can be; null when none does.
    static @Nullable Library open(List<String> sonames, String chosen) {
        for (String soname : sonames) {
            for (String candidate : NativeLibraries.candidates(soname, chosen)) {
                Library library = open(candidate);
                if (library != null) {
                    return library;
                }
            }
        }
        return null;
    }

    private static @Nullable Library open(String candidate) {
        try {
            SymbolLookup symbols =
                    candidate.contains("/")
                            ? SymbolLookup.libraryLookup(Path.of(candidate), Arena.global())
                            : SymbolLookup.libraryLookup(candidate, Arena.global());
            return new Library(symbols, candidate);
        } catch (IllegalArgumentException _) {
            return null;
        }
    }

    /// Loads libraries that another one asks for by name only, from wherever they are: the system's
    /// loader then takes those that are loaded already.
    static void preload(String... sonames) {
        for (String soname : sonames) {
            Library _ = open(List.of(soname), "");
        }
    }

    /// A function of the library.
    ///
    /// @throws UnsatisfiedLinkError naming it, when there is none
    MethodHandle function(String name, MemoryLayout result, MemoryLayout... parameters) {
        return LINKER.downcallHandle(address(name), FunctionDescriptor.of(result, parameters));
    }

    /// A function of the library that returns nothing.
    ///
    /// @throws UnsatisfiedLinkError naming it, when there is none
    MethodHandle voidFunction(String name, MemoryLayout... parameters) {
        return LINKER.downcallHandle(address(name), FunctionDescriptor.ofVoid(parameters));
    }

    private MemorySegment address(String name) {
        Optional<MemorySegment> symbol = symbols.find(name);
        if (symbol.isEmpty()) {
            throw new UnsatisfiedLinkError(path + " has no function " + name);
        }
        return symbol.get();
    }

    /// A zero-terminated text that a function returned.
    static String text(MemorySegment address) {
        return address.address() == 0 ? "" : address.reinterpret(Long.MAX_VALUE).getString(0);
    }

    /// The exception for what `invokeExact` is declared to throw, and never does.
    static AssertionError broken(Throwable cause) {
        return new AssertionError(cause);
    }

    /// Names that are tried, for a message.
    static String tried(List<String> sonames, String property, String variable) {
        return String.join(" or ", sonames)
                + " is not on the library path, in a CUDA toolkit or in a Python environment's"
                + " nvidia packages (name its file or folder with -D"
                + property
                + "=... or "
                + variable
                + "=...)";
    }
}
