package dev.saccade.kernels.gemm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.CudaTile.Form;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The product on CUDA: `gemm/portable.cu` for BF16, `gemm/portable_f32.cu` for F32. Every kernel
/// takes the same arguments and gives an element the same bits; the shape and the addresses decide
/// which one runs. On Hopper, BF16 products go to [HopperGemm] wherever TMA can fetch the operands:
/// the one place where that is chosen.
final class CudaGemm implements Gemm {
    private static final int ACCESS_BYTES = 16;

    /// Products of a batch that one launch takes: the z of a grid.
    private static final int MOST_PRODUCTS = 65_535;

    /// Elements of C that a multiprocessor computes at a time on Hopper, at least: a product with
    /// fewer for each leaves some of them idle.
    private static final long HOPPER_TILE = 128 * 128;

    /// One product, alone.
    private static final Batch ONE = new Batch(1, 0, 0, 0);

    private final CudaDevice cuda;
    private final TileChoice choice;
    private final @Nullable HopperGemm hopper;
    private final Map<CudaTile, Map<Form, Kernel>> kernels = new EnumMap<>(CudaTile.class);

    /// Chooses a product's tile.
    interface TileChoice {
        /// The tile.
        ///
        /// @param aligned whether rows of A and B begin on 16 bytes
        CudaTile tile(DType dtype, Form form, boolean aligned, int m, int n);
    }

    CudaGemm(CudaDevice cuda) {
        this(cuda, HopperGemm.runsOn(cuda) ? new HopperGemm(cuda) : null);
    }

    CudaGemm(CudaDevice cuda, @Nullable HopperGemm hopper) {
        this(
                cuda,
                (dtype, form, aligned, m, n) ->
                        CudaTile.choose(
                                dtype, form, aligned, m, n, cuda.properties().multiprocessors()),
                hopper);
    }

    CudaGemm(CudaDevice cuda, TileChoice choice, @Nullable HopperGemm hopper) {
        this.cuda = cuda;
        this.choice = choice;
        this.hopper = hopper;
    }

    @Override
    public void multiply(Shape shape, Span a, Span b, Span c, Epilogue epilogue) {
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        DType type = type("a", a);
        DType result = type == DType.BF16 && c.dtype() == DType.F32 ? DType.F32 : type;
        long elements = (long) m * n;
        long from = a.require("a", type, (long) m * k);
        long by = b.require("b", type, (long) k * n);
        long to = c.require("c", result, elements);
        Finish finish =
                switch (epilogue) {
                    case Epilogue.Store() -> Finish.NONE;
                    case Epilogue.Accumulate() -> Finish.ADD;
                    case Epilogue.Bias(Span bias) ->
                            new Finish(Finish.STORE, address("bias", bias, type, n), 0, 0, 0, 0);
                    case Epilogue.BiasGelu(Span bias, Span preActivation) ->
                            new Finish(
                                    Finish.GELU,
                                    address("bias", bias, type, n),
                                    0,
                                    0,
                                    address("preActivation", preActivation, result, elements),
                                    0);
                    case Epilogue.Residual(Span residual, Span bias, Span scale, Span branch) ->
                            new Finish(
                                    Finish.RESIDUAL,
                                    address("bias", bias, type, n),
                                    address("scale", scale, type, n),
                                    address("residual", residual, result, elements),
                                    address("branch", branch, result, elements),
                                    0);
                    case Epilogue.GeluBackward(Span preActivation) ->
                            new Finish(
                                    Finish.GELU_BACKWARD,
                                    0,
                                    0,
                                    preActivation.require("preActivation", result, elements),
                                    0,
                                    0);
                };
        launch(Form.of(shape.layout()), type, result, m, n, k, from, by, 0, to, finish, ONE);
    }

    @Override
    public void multiplyBatch(Shape shape, Batch batch, Span a, Span b, Span c, Epilogue epilogue) {
        batch.require(shape, epilogue);
        int m = shape.m();
        int n = shape.n();
        int k = shape.k();
        DType type = type("a", a);
        DType result = type == DType.BF16 && c.dtype() == DType.F32 ? DType.F32 : type;
        long from = a.require("a", type, batch.elements(batch.strideA(), (long) m * k));
        long by = b.require("b", type, batch.elements(batch.strideB(), (long) k * n));
        long to = c.require("c", result, batch.elements(batch.strideC(), (long) m * n));
        Finish finish = epilogue instanceof Epilogue.Accumulate ? Finish.ADD : Finish.NONE;
        Form form = Form.of(shape.layout());
        if (isOneProduct(shape, batch)) {
            int rows = batch.count() * m;
            launch(form, type, result, rows, n, k, from, by, 0, to, finish, ONE);
            return;
        }
        for (long first = 0; first < batch.count(); first += MOST_PRODUCTS) {
            int count = (int) Math.min(MOST_PRODUCTS, batch.count() - first);
            Batch part =
                    count == 1
                            ? ONE
                            : new Batch(count, batch.strideA(), batch.strideB(), batch.strideC());
            launch(
                    form,
                    type,
                    result,
                    m,
                    n,
                    k,
                    from + first * batch.strideA() * type.bytes(),
                    by + first * batch.strideB() * type.bytes(),
                    0,
                    to + first * batch.strideC() * result.bytes(),
                    finish,
                    part);
        }
    }

    /// Whether the products share B, and their rows of A and C follow each other without a gap.
    private static boolean isOneProduct(Shape shape, Batch batch) {
        return batch.count() > 1
                && shape.layout() != Layout.TN
                && batch.strideB() == 0
                && batch.strideA() == (long) shape.m() * shape.k()
                && batch.strideC() == (long) shape.m() * shape.n()
                && (long) batch.count() * shape.m() <= Integer.MAX_VALUE;
    }

    @Override
    public void swiGlu(
            int m,
            int n,
            int k,
            Span x,
            Span gateWeight,
            Span upWeight,
            Span out,
            @Nullable Span gate,
            @Nullable Span up) {
        DType type = type("x", x);
        long elements = (long) m * n;
        long weights = (long) n * k;
        long from = x.require("x", type, (long) m * k);
        long by = gateWeight.require("gateWeight", type, weights);
        long byUp = upWeight.require("upWeight", type, weights);
        long to = out.require("out", type, elements);
        Finish finish =
                new Finish(
                        Finish.STORE,
                        0,
                        0,
                        0,
                        address("gate", gate, type, elements),
                        address("up", up, type, elements));
        launch(Form.SWI_GLU, type, type, m, n, k, from, by, byUp, to, finish, ONE);
    }

    private static DType type(String operand, Span span) {
        DType type = span.dtype();
        if (type != DType.F32 && type != DType.BF16) {
            throw new IllegalArgumentException(
                    "%s is %s, expected F32 or BF16".formatted(operand, type));
        }
        return type;
    }

    private static long address(String operand, @Nullable Span span, DType type, long elements) {
        return span == null ? 0 : span.require(operand, type, elements);
    }

    private void launch(
            Form form,
            DType type,
            DType result,
            int m,
            int n,
            int k,
            long a,
            long b,
            long bUp,
            long c,
            Finish finish,
            Batch batch) {
        if (m == 0 || n == 0) {
            return;
        }
        int bytes = type.bytes();
        int granuleA =
                granule(a, (long) bytes * (form == Form.TN ? m : k) | bytes * batch.strideA());
        int granuleB =
                granule(b | bUp, (long) bytes * (form.isLayer() ? k : n) | bytes * batch.strideB());
        boolean aligned = granuleA == ACCESS_BYTES && granuleB == ACCESS_BYTES;
        // The epilogue takes so many elements of C at once, and as many of bias and scale.
        int run = ACCESS_BYTES / result.bytes();
        boolean vector =
                n % run == 0
                        && granule(
                                        c | finish.residual() | finish.kept() | finish.keptUp(),
                                        result.bytes() * batch.strideC())
                                == ACCESS_BYTES
                        && (finish.bias() | finish.scale()) % ((long) run * bytes) == 0;
        boolean wide = result == DType.F32;
        if (hopper != null
                && type == DType.BF16
                && aligned
                && HopperGemm.takes(form, m, n, k)
                && (finish.kind() != Finish.ACCUMULATE || (wide && vector))
                && (batch.count() == 1 || fills(m, n))) {
            for (int i = 0; i < batch.count(); i++) {
                hopper.launch(
                        form,
                        m,
                        n,
                        k,
                        a + i * batch.strideA() * bytes,
                        b + i * batch.strideB() * bytes,
                        bUp,
                        c + i * batch.strideC() * result.bytes(),
                        finish,
                        wide,
                        vector);
            }
            return;
        }
        // Products side by side are as much work as one that is so much wider.
        int columns = (int) Math.min(Integer.MAX_VALUE, (long) n * batch.count());
        CudaTile tile = choice.tile(type, form, aligned, m, columns);
        kernel(tile, form)
                .begin()
                .pointer(a)
                .pointer(b)
                .pointer(bUp)
                .pointer(c)
                .pointer(finish.bias())
                .pointer(finish.scale())
                .pointer(finish.residual())
                .pointer(finish.kept())
                .pointer(finish.keptUp())
                .int64(batch.strideA())
                .int64(batch.strideB())
                .int64(batch.strideC())
                .int32(m)
                .int32(n)
                .int32(k)
                .int32(finish.kind())
                .int32(wide ? 1 : 0)
                .int32(vector ? 1 : 0)
                .int32(granuleA)
                .int32(granuleB)
                .launch(
                        Math.toIntExact(tile.blocks(form, m, n)),
                        1,
                        batch.count(),
                        tile.threads(),
                        tile.sharedBytes());
    }

    /// Whether a product has work for every multiprocessor. Hopper's kernels take one product each;
    /// a batch of small ones is one launch of the portable kernel, which gives the same bits: on
    /// its own, a product of 1024^2 elements would leave half of the device idle.
    private boolean fills(int m, int n) {
        return (long) m * n >= HOPPER_TILE * cuda.properties().multiprocessors();
    }

    /// The most bytes, up to 16, that an address and a row's length are both multiples of.
    private static int granule(long address, long rowBytes) {
        return (int) Math.min(ACCESS_BYTES, Long.lowestOneBit(address | rowBytes | ACCESS_BYTES));
    }

    private Kernel kernel(CudaTile tile, Form form) {
        Map<Form, Kernel> ofTile = kernels.get(tile);
        if (ofTile == null) {
            ofTile = new EnumMap<>(Form.class);
            kernels.put(tile, ofTile);
        }
        Kernel kernel = ofTile.get(form);
        if (kernel == null) {
            String program = tile.dtype() == DType.F32 ? "gemm/portable_f32" : "gemm/portable";
            kernel = cuda.program(program).kernel(tile.kernel(form));
            ofTile.put(form, kernel);
        }
        return kernel;
    }
}
