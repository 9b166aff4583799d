package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.embedding.Embedding;
import java.util.List;

/// Moving rows by index. A row may be taken several times: the gradients that meet at it are summed
/// in F32 and rounded once.
final class RowOperations {
    private RowOperations() {}

    static Tensor embedding(Tape tape, Parameter table, Tensor ids) {
        int n = requireIndices("embedding", ids);
        Tape.require(table.shape().rank() == 2, "embedding", table);
        int vocab = Math.toIntExact(table.shape().dim(0));
        int width = table.shape().width();
        Tensor y =
                tape.make(table.value().dtype(), Shape.of(n, width), tape.needs(List.of(), table));
        Embedding embedding = tape.kernels().embedding();
        embedding.gather(n, width, vocab, ids.span(), table.value().span(), y.span());
        tape.note(
                y,
                () ->
                        embedding.scatterAdd(
                                n,
                                width,
                                vocab,
                                ids.span(),
                                tape.gradientOf(y).span(),
                                table.gradient().span()));
        return y;
    }

    static Tensor takeRows(Tape tape, Tensor x, Tensor rows) {
        int n = requireIndices("takeRows", rows);
        int width = x.width();
        Tensor y = tape.make(x.dtype(), Shape.of(n, width), tape.needs(List.of(x)));
        Embedding embedding = tape.kernels().embedding();
        embedding.gather(n, width, x.rows(), rows.span(), x.span(), y.span());
        tape.note(
                y,
                () -> {
                    Tensor sum = tape.zeros(DType.F32, x.shape());
                    embedding.scatterAdd(
                            n, width, x.rows(), rows.span(), tape.gradientOf(y).span(), sum.span());
                    tape.accumulate(x, tape.cast(sum, x.dtype()));
                });
        return y;
    }

    static Tensor replaceRows(
            Tape tape, Tensor x, Tensor targetRows, Tensor source, Tensor sourceRows) {
        int n = requireIndices("replaceRows", targetRows);
        int width = x.width();
        Tape.require(
                requireIndices("replaceRows", sourceRows) == n
                        && source.width() == width
                        && source.dtype() == x.dtype(),
                "replaceRows",
                x,
                targetRows,
                source,
                sourceRows);
        Tensor y = tape.copyOf(x, tape.needs(List.of(x, source)));
        Tensor moved = tape.make(x.dtype(), Shape.of(n, width), false);
        Embedding embedding = tape.kernels().embedding();
        embedding.gather(n, width, source.rows(), sourceRows.span(), source.span(), moved.span());
        embedding.scatter(n, width, x.rows(), targetRows.span(), moved.span(), y.span());
        tape.note(
                y,
                () -> {
                    if (source.requiresGrad()) {
                        Tensor taken = tape.make(x.dtype(), Shape.of(n, width), false);
                        embedding.gather(
                                n,
                                width,
                                x.rows(),
                                targetRows.span(),
                                tape.gradientOf(y).span(),
                                taken.span());
                        Tensor sum = tape.zeros(DType.F32, source.shape());
                        embedding.scatterAdd(
                                n,
                                width,
                                source.rows(),
                                sourceRows.span(),
                                taken.span(),
                                sum.span());
                        tape.accumulate(source, tape.cast(sum, source.dtype()));
                    }
                    if (x.requiresGrad()) {
                        Tensor dx = tape.writableGradientOf(y);
                        Tensor none = tape.zeros(x.dtype(), Shape.of(n, width));
                        embedding.scatter(
                                n, width, x.rows(), targetRows.span(), none.span(), dx.span());
                        tape.accumulate(x, dx);
                    }
                });
        return y;
    }

    private static int requireIndices(String operation, Tensor indices) {
        Tape.require(indices.dtype() == DType.I32, operation, indices);
        return Math.toIntExact(indices.shape().elements());
    }
}
