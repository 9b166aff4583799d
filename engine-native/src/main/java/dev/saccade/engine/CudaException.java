package dev.saccade.engine;

import org.jspecify.annotations.Nullable;

/// A CUDA call failed. The message says what was called, for which kernel and grid, and the
/// driver's name and words for the error.
public final class CudaException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int code;
    private final String name;
    private final String call;
    private final @Nullable String kernel;
    private final @Nullable String grid;

    CudaException(
            int code,
            String name,
            String call,
            @Nullable String kernel,
            @Nullable String grid,
            String message) {
        super(message);
        this.code = code;
        this.name = name;
        this.call = call;
        this.kernel = kernel;
        this.grid = grid;
    }

    /// The driver's error code (CUresult).
    public int code() {
        return code;
    }

    /// The driver's name of the error, `CUDA_ERROR_ILLEGAL_ADDRESS`.
    public String name() {
        return name;
    }

    /// The driver's function that reported it, which may not be the one that caused it: kernels
    /// fail after their launch has returned.
    public String call() {
        return call;
    }

    /// The kernel that was launched; null where the call was no launch.
    public @Nullable String kernel() {
        return kernel;
    }

    /// The launch's grid, block and shared memory; null where the call was no launch.
    public @Nullable String grid() {
        return grid;
    }
}
