package dev.saccade.kernels.gemm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// The matrix product with its epilogues.
///
/// `C[m,n] = epilogue(sum over k of opA(A)[m,k] * opB(B)[k,n])`, all matrices row-major.
///
/// **Types.** A and B have one type T: F32 on the CPU, F32 or BF16 on CUDA. C has type T, or F32
/// where T is BF16 (logits, weight gradients). What an epilogue reads or keeps beside C (residual,
/// branch, preActivation) has C's type, bias and scale have type T. Sums and epilogues are in fp32;
/// an element is rounded once, when it is stored.
///
/// **Bits.** Each element is one chain over k = 0, 1, ... K-1, from 0 (or from C's old value with
/// [Epilogue.Accumulate]), whatever M, N, the tile, the grid or the number of workers: a row's bits
/// never depend on what else is in the batch, and C's type shows in the last rounding alone.
/// - F32: the chain is `s = fma(a[m,k], b[k,n], s)`, and epilogues use one sequence of fp32
///   operations: a CUDA device computes the CPU's bits.
/// - BF16: a link of the chain is 16 products that a tensor core (`mma.sync.m16n8k16`) adds to s;
///   the last link is filled up with zeros.
///
/// A chain that stops in an F32 C and goes on with [Epilogue.Accumulate] is the unbroken chain, for
/// BF16 where it stops at a multiple of 16.
public interface Gemm {

    /// Which operands are stored transposed: N is "as in the formula", T is transposed; the first
    /// letter is A's, the second B's. A linear layer `y = x W^T` with `W [out, in]` is NT; its
    /// input gradient `dx = dy W` is NN; its weight gradient `dW = dy^T x` is TN.
    enum Layout {
        NN,
        NT,
        TN
    }

    /// A product's extents: C is [m, n], the sum runs over k; leading dimensions are dense.
    record Shape(Layout layout, int m, int n, int k) {
        public Shape {
            if (m < 0 || n < 0 || k < 0) {
                throw new IllegalArgumentException("gemm of m=%d n=%d k=%d".formatted(m, n, k));
            }
        }
    }

    /// Products of one shape, each with operands of its own.
    ///
    /// @param count how many
    /// @param strideA elements from the first of a product's A to that of the next one's; 0 where
    ///   all share it
    /// @param strideB the same of B
    /// @param strideC the same of C, at least m*n
    record Batch(int count, long strideA, long strideB, long strideC) {
        public Batch {
            if (count < 0 || strideA < 0 || strideB < 0 || strideC < 0) {
                throw new IllegalArgumentException(
                        "a batch of %d products with strides %d, %d, %d"
                                .formatted(count, strideA, strideB, strideC));
            }
        }

        /// Operands that lie one right behind the other.
        public static Batch dense(int count, Shape shape) {
            long m = shape.m();
            long n = shape.n();
            return new Batch(count, m * shape.k(), shape.k() * n, m * n);
        }

        /// How many elements an operand has, from the first of the first product to the last of the
        /// last.
        ///
        /// @param one elements of one product
        long elements(long stride, long one) {
            return count == 0 ? 0 : (count - 1) * stride + one;
        }

        /// Refuses what a batch can't do.
        ///
        /// @throws IllegalArgumentException saying why
        void require(Shape shape, Epilogue epilogue) {
            if (!(epilogue instanceof Epilogue.Store || epilogue instanceof Epilogue.Accumulate)) {
                throw new IllegalArgumentException(
                        "a batch of products stores or accumulates and has no "
                                + epilogue.getClass().getSimpleName());
            }
            long one = (long) shape.m() * shape.n();
            if (count > 1 && strideC < one) {
                throw new IllegalArgumentException(
                        "the results of a batch overlap: %d elements each, %d apart"
                                .formatted(one, strideC));
            }
        }
    }

    /// Computes `c = epilogue(a x b)`. A is [m,k] ([k,m] when transposed), B is [k,n] ([n,k] when
    /// transposed), C is [m,n]. C may not overlap an input, except that an epilogue's residual or
    /// preActivation may be C. Without a k the sum is 0.
    ///
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit
    void multiply(Shape shape, Span a, Span b, Span c, Epilogue epilogue);

    /// A batch of products, `c[i] = epilogue(a[i] x b[i])`: each has the bits that [#multiply]
    /// gives it alone. What lies between the results is left as it is.
    ///
    /// @param epilogue [Epilogue.Store] or [Epilogue.Accumulate]
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit, or
    ///   saying what a batch can't do
    void multiplyBatch(Shape shape, Batch batch, Span a, Span b, Span c, Epilogue epilogue);

    /// The gated unit of Qwen2 in one product: with `g = x Wg^T` and `u = x Wu^T` (x [m,k], Wg and
    /// Wu [n,k]), `out = silu(g) * u`, silu(g) = g / (1 + exp(-g)). `gate` and `up` receive g and u
    /// for the backward pass when they are not null. All have one type. g and u are used as they
    /// are in fp32, so what is kept does not show in out.
    ///
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit
    void swiGlu(
            int m,
            int n,
            int k,
            Span x,
            Span gateWeight,
            Span upWeight,
            Span out,
            @Nullable Span gate,
            @Nullable Span up);

    /// The implementation for `device`.
    static Gemm on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostGemm(host);
            case CudaDevice cuda -> new CudaGemm(cuda);
        };
    }
}
