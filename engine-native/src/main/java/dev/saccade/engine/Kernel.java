package dev.saccade.engine;

/// A kernel and its one prebuilt parameter block. A launch writes the arguments in order and goes:
///
/// ```java
/// kernel.begin().pointer(x).pointer(y).int32(rows).float32(eps).launch(rows, 256);
/// ```
///
/// Nothing is allocated. Each argument's size is checked against the size that the driver reports
/// for the parameter in its place (cuFuncGetParamInfo), and a launch checks that all were given. A
/// kernel is used by its device's thread alone. The launch goes to the device's stream and returns
/// at once; a fault shows at the next synchronisation, or at once in debug mode
/// (`-Dsaccade.cuda.debug=true`), which names kernel, grid and arguments.
@SuppressWarnings("DoNotCallSuggester")
public final class Kernel {

    Kernel() {}

    /// The kernel's name.
    public String name() {
        throw new UnsupportedOperationException("skeleton");
    }

    /// Starts a new list of arguments.
    public Kernel begin() {
        return this;
    }

    /// A pointer argument: the address of operand memory, 0 for none.
    public Kernel pointer(long address) {
        return this;
    }

    /// An `int` argument.
    public Kernel int32(int value) {
        return this;
    }

    /// A `long long` argument.
    public Kernel int64(long value) {
        return this;
    }

    /// A `float` argument.
    public Kernel float32(float value) {
        return this;
    }

    /// A `double` argument.
    public Kernel float64(double value) {
        return this;
    }

    /// Launches `gridX` blocks of `threads` threads. A grid of 0 blocks launches nothing.
    public void launch(int gridX, int threads) {
        launch(gridX, 1, 1, threads, 0);
    }

    /// Launches a grid of blocks of `threads` threads with `sharedBytes` of dynamic shared memory
    /// (more than 48 KiB is opted in to as needed). A grid of 0 blocks launches nothing.
    public void launch(int gridX, int gridY, int gridZ, int threads, int sharedBytes) {
        throw new UnsupportedOperationException("skeleton");
    }

    /// Blocks of `threads` threads with `sharedBytes` of dynamic shared memory that fit a
    /// multiprocessor at once.
    public int blocksPerMultiprocessor(int threads, int sharedBytes) {
        throw new UnsupportedOperationException("skeleton");
    }
}
