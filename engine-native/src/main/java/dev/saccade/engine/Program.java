package dev.saccade.engine;

/// Compiled device code with its kernels: one fatbin, loaded into a device.
@SuppressWarnings("DoNotCallSuggester")
public final class Program implements AutoCloseable {

    Program() {}

    /// The name it was loaded under, e.g. `norm/portable`.
    public String name() {
        throw new UnsupportedOperationException("skeleton");
    }

    /// The kernel of this name (`extern "C"`); the same object each time.
    ///
    /// @throws CudaException when the program has none
    public Kernel kernel(String name) {
        throw new UnsupportedOperationException("skeleton");
    }

    @Override
    public void close() {}
}
