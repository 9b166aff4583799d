package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.attention.PrefixedAttention;
import java.util.List;

/// Rotary positions and attention.
final class AttentionOperations {
    private AttentionOperations() {}

    static Tensor rope(Tape tape, Tensor x, RopeTable table, Tensor positions, int headDim) {
        return rope(tape, x, tape.copyOf(x, tape.needs(List.of(x))), table, positions, headDim);
    }

    static Tensor ropeInPlace(Tape tape, Tensor x, RopeTable table, Tensor positions, int headDim) {
        Tensor y = new Tensor(x.span(), x.shape(), tape.needs(List.of(x)));
        return rope(tape, x, y, table, positions, headDim);
    }

    /// @param y holds the elements of x
    private static Tensor rope(
            Tape tape, Tensor x, Tensor y, RopeTable table, Tensor positions, int headDim) {
        int rows = x.rows();
        Tape.require(
                headDim == table.headDim()
                        && x.width() % headDim == 0
                        && positions.dtype() == DType.I32
                        && positions.shape().elements() == rows,
                "rope",
                x,
                positions,
                "heads of " + headDim);
        int heads = x.width() / headDim;
        tape.kernels()
                .rope()
                .rotate(rows, heads, headDim, table.span(), positions.span(), y.span());
        tape.note(
                y,
                () -> {
                    Tensor dx = tape.writableGradientOf(y);
                    tape.kernels()
                            .rope()
                            .rotateBackward(
                                    rows,
                                    heads,
                                    headDim,
                                    table.span(),
                                    positions.span(),
                                    dx.span());
                    tape.accumulate(x, dx);
                });
        return y;
    }

    static Tensor attention(
            Tape tape,
            Tensor q,
            Tensor k,
            Tensor v,
            Attention.Shape shape,
            Attention.Sequences sequences) {
        Tape.require(
                q.width() == shape.heads() * shape.headDim()
                        && k.width() == shape.kvHeads() * shape.headDim()
                        && v.rows() == k.rows()
                        && v.width() == k.width()
                        && sequences.queryRows() <= q.rows()
                        && sequences.keyRows() <= k.rows(),
                "attention",
                q,
                k,
                v,
                shape);
        boolean allQueries = covers(sequences.queryStart(), sequences.queryLength(), q.rows());
        boolean allKeys = covers(sequences.keyStart(), sequences.keyLength(), k.rows());
        Tensor o = result(tape, q, tape.needs(List.of(q, k, v)), allQueries);
        Tensor lse = tape.empty(DType.F32, q.rows(), shape.heads());
        tape.kernels()
                .attention()
                .forward(shape, sequences, q.span(), k.span(), v.span(), o.span(), lse.span());
        tape.note(
                o,
                () -> {
                    Tensor dq = result(tape, q, false, allQueries);
                    Tensor dk = result(tape, k, false, allKeys);
                    Tensor dv = result(tape, v, false, allKeys);
                    tape.kernels()
                            .attention()
                            .backward(
                                    shape,
                                    sequences,
                                    q.span(),
                                    k.span(),
                                    v.span(),
                                    o.span(),
                                    lse.span(),
                                    tape.gradientOf(o).span(),
                                    dq.span(),
                                    dk.span(),
                                    dv.span());
                    tape.accumulate(q, dq);
                    tape.accumulate(k, dk);
                    tape.accumulate(v, dv);
                });
        return o;
    }

    static Tensor attention(
            Tape tape,
            Tensor q,
            Tensor k,
            Tensor v,
            Attention.Shape shape,
            PrefixedAttention.Prefixed sequences) {
        Attention.Sequences own = sequences.own();
        Tape.require(
                q.width() == shape.heads() * shape.headDim()
                        && k.width() == shape.kvHeads() * shape.headDim()
                        && v.rows() == k.rows()
                        && v.width() == k.width()
                        && own.queryRows() <= q.rows()
                        && sequences.keyRows() <= k.rows(),
                "attention",
                q,
                k,
                v,
                shape);
        boolean allQueries = covers(own.queryStart(), own.queryLength(), q.rows());
        Tensor o = result(tape, q, tape.needs(List.of(q, k, v)), allQueries);
        Tensor lse = tape.empty(DType.F32, q.rows(), shape.heads());
        PrefixedAttention attention = tape.kernels().prefixedAttention();
        attention.forward(shape, sequences, q.span(), k.span(), v.span(), o.span(), lse.span());
        tape.note(
                o,
                () -> {
                    Tensor dq = result(tape, q, false, allQueries);
                    Tensor dk = tape.make(k.dtype(), k.shape(), false);
                    Tensor dv = tape.make(v.dtype(), v.shape(), false);
                    attention.backward(
                            shape,
                            sequences,
                            q.span(),
                            k.span(),
                            v.span(),
                            o.span(),
                            lse.span(),
                            tape.gradientOf(o).span(),
                            dq.span(),
                            dk.span(),
                            dv.span());
                    tape.accumulate(q, dq);
                    tape.accumulate(k, dk);
                    tape.accumulate(v, dv);
                });
        return o;
    }

    /// Memory for a result in the shape of x: the kernel writes only the rows of sequences, so
    /// where those leave a gap it starts from 0.
    private static Tensor result(Tape tape, Tensor x, boolean requiresGrad, boolean covered) {
        Tensor result = tape.make(x.dtype(), x.shape(), requiresGrad);
        if (!covered) {
            tape.kernels()
                    .device()
                    .fill(result.span().buffer(), 0, result.span().bytes(), (byte) 0);
        }
        return result;
    }

    /// Whether the ranges follow each other from row 0 to the last.
    private static boolean covers(int[] start, int[] length, int rows) {
        int end = 0;
        for (int s = 0; s < start.length; s++) {
            if (start[s] != end) {
                return false;
            }
            end += length[s];
        }
        return end == rows;
    }
}
