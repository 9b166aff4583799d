package dev.saccade.engine;

/// A CUDA call failed. The message says what was called, for which kernel and grid, and the
/// driver's name and words for the error.
public final class CudaException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int code;

    CudaException(int code, String message) {
        super(message);
        this.code = code;
    }

    /// The driver's error code (CUresult).
    public int code() {
        return code;
    }
}
