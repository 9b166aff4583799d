package dev.saccade.kernels.attention;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Shape;

/// The operands of a forward pass on CUDA; see [Attention#forward].
record ForwardOperands(Span q, Span k, Span v, Span o, Span lse) {

    /// Refuses operands of another type or with fewer rows than the sequences have.
    void require(Shape shape, DType type, int queryRows, int keyRows) {
        int rows = Math.multiplyExact(queryRows, shape.heads());
        long queryElements = (long) rows * shape.headDim();
        long keyElements = (long) keyRows * shape.kvHeads() * shape.headDim();
        q.require("q", type, queryElements);
        k.require("k", type, keyElements);
        v.require("v", type, keyElements);
        o.require("o", type, queryElements);
        lse.require("lse", DType.F32, rows);
    }

    /// Those that are of the call's type.
    Span[] typed() {
        return new Span[] {q, k, v, o};
    }
}
