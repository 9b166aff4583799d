package dev.saccade.bench.peer;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.gemm.Gemm;

/// What a peer is asked to compute.
public sealed interface Work {

    /// A matrix product of dense row-major matrices, fp32 accumulation: [Gemm]'s formula. Operands:
    /// a, b, c, bias; the last is 0 where there is none.
    ///
    /// @param shape layout and extents
    /// @param input type of a, b and bias
    /// @param output type of c
    /// @param bias whether `bias[n]` is added
    /// @param accumulate whether the product is added to c
    /// @param count how many products, each operand's matrices one right behind the other; without
    ///   a bias where there are several
    record Product(
            Gemm.Shape shape,
            DType input,
            DType output,
            boolean bias,
            boolean accumulate,
            int count)
            implements Work {}

    /// Attention over equally long sequences in bf16, full or causal. Operands: q, o [batch,
    /// queries, heads, headDim], k, v [batch, keys, kvHeads, headDim], lse [batch, queries, heads]
    /// fp32; in the order q, k, v, o, lse.
    ///
    /// @param causal whether query i sees the keys up to i only; queries and keys are as many then
    record Attend(
            int batch,
            int heads,
            int kvHeads,
            int headDim,
            int queries,
            int keys,
            boolean causal,
            float scale)
            implements Work {}

    /// The softmax of each row of [rows, width], fp32. Operands: x, y.
    record Softmax(int rows, int width) implements Work {}
}
