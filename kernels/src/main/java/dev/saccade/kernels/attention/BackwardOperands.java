package dev.saccade.kernels.attention;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Shape;

/// The operands of a backward pass on CUDA; see [Attention#backward].
///
/// @param forward those of the forward pass, as it left them
record BackwardOperands(ForwardOperands forward, Span dO, Span dq, Span dk, Span dv) {
    Span q() {
        return forward.q();
    }

    Span k() {
        return forward.k();
    }

    Span v() {
        return forward.v();
    }

    /// Refuses operands of another type or with fewer rows than the sequences have.
    void require(Shape shape, DType type, int queryRows, int keyRows) {
        forward.require(shape, type, queryRows, keyRows);
        long queryElements = (long) queryRows * shape.heads() * shape.headDim();
        long keyElements = (long) keyRows * shape.kvHeads() * shape.headDim();
        dO.require("dO", type, queryElements);
        dq.require("dq", type, queryElements);
        dk.require("dk", type, keyElements);
        dv.require("dv", type, keyElements);
    }

    /// Those that are of the call's type.
    Span[] typed() {
        return new Span[] {q(), k(), v(), forward.o(), dO, dq, dk, dv};
    }
}
