package dev.saccade.kernels.gemm;

/// What an epilogue needs, as kernels take it; an absent operand's address is 0.
///
/// @param kind one of the constants
/// @param residual what is read beside C, element by element: the residual, or for [#GELU_BACKWARD]
///   the pre-activation
record Finish(int kind, long bias, long scale, long residual, long kept, long keptUp) {
    // The epilogues' numbers in epilogue.cuh.
    static final int STORE = 0;
    static final int ACCUMULATE = 1;
    static final int GELU = 2;
    static final int RESIDUAL = 3;
    static final int GELU_BACKWARD = 4;

    /// Nothing beside C.
    static final Finish NONE = new Finish(STORE, 0, 0, 0, 0, 0);

    /// The chains start from C, and there is nothing else.
    static final Finish ADD = new Finish(ACCUMULATE, 0, 0, 0, 0, 0);

    /// Whether the chains start from C.
    boolean fromC() {
        return kind == ACCUMULATE;
    }
}
