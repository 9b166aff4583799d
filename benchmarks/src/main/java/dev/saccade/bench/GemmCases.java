package dev.saccade.bench;

import dev.saccade.bench.peer.Work;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.util.List;
import java.util.function.IntConsumer;

/// Matrix products.
final class GemmCases {
    private static final int SAMPLES = 24;

    /// Lost by fp32 accumulation, relative to the sum of the absolute terms.
    private static final double ACCUMULATION = 0x1p-20;

    /// Tensor cores cut a sum off where they add, they don't round it: up to 2^-23 of it, always
    /// towards 0, at each 16 elements of k. In units of [#ACCUMULATION], by element of k.
    private static final double CUT_OFF = 0x1p-23 / 16 / ACCUMULATION;

    private GemmCases() {}

    /// `op=gemm layout=NT|NN|TN m n k dtype [out] [epilogue=bias|gelu|residual|accumulate]`.
    static PreparedCase gemm(Case work, Workbench bench) {
        Gemm gemm = Gemm.on(bench.device());
        int m = work.integer("m");
        int n = work.integer("n");
        int k = work.integer("k");
        Gemm.Shape shape = new Gemm.Shape(Gemm.Layout.valueOf(work.text("layout")), m, n, k);
        DType dtype = work.dtype();
        DType output = work.dtype("out");
        String kind = work.text("epilogue", "store");
        boolean accumulates = kind.equals("accumulate");
        boolean hasResidual = kind.equals("residual");
        boolean hasBias = hasResidual || kind.equals("bias") || kind.equals("gelu");
        long elements = (long) m * n;
        long bytes =
                (long) dtype.bytes() * ((long) m * k + (long) k * n + (hasBias ? n : 0))
                        + output.bytes() * elements * (accumulates || hasResidual ? 2 : 1);
        int sets = bench.sets(bytes);
        Operand a = bench.normal(dtype, (long) m * k, sets);
        Operand b = bench.normal(dtype, (long) k * n, sets);
        Operand c =
                accumulates
                        ? bench.normal(output, elements, sets)
                        : bench.empty(output, elements, sets);
        Operand bias = bench.normal(dtype, hasBias ? n : 1, 1);
        Operand residual = bench.normal(output, hasResidual ? elements : 1, sets);
        Runnable compare =
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = sample == 0 ? m - 1 : (int) bench.draw((long) m);
                        int column = sample == 0 ? n - 1 : (int) bench.draw((long) n);
                        long at = (long) row * n + column;
                        Sum sum = product(shape, 0, a, b, row, column);
                        if (accumulates) {
                            sum = sum.plus(c.value(at));
                        }
                        if (hasBias) {
                            sum = sum.plus(bias.value(column));
                        }
                        if (kind.equals("gelu")) {
                            sum = new Sum(Formulas.gelu(sum.exact), sum.magnitude);
                        }
                        if (hasResidual) {
                            sum = sum.plus(residual.value(at));
                        }
                        bench.require(
                                "c[%d, %d]".formatted(row, column),
                                output,
                                bench.read(c.set(0), at),
                                sum.exact,
                                sum.magnitude + k * CUT_OFF * Math.abs(sum.exact),
                                ACCUMULATION);
                    }
                };
        return PreparedCase.of(
                2.0 * m * n * k,
                (double) bytes,
                sets,
                set ->
                        gemm.multiply(
                                shape,
                                a.set(set),
                                b.set(set),
                                c.set(set),
                                epilogue(kind, bias, residual, set)),
                () -> bench.reset(c),
                compare,
                hasResidual || kind.equals("gelu")
                        ? null
                        : new PreparedCase.ForPeers(
                                new Work.Product(shape, dtype, output, hasBias, accumulates, 1),
                                set ->
                                        new long[] {
                                            a.set(set).address(),
                                            b.set(set).address(),
                                            c.set(set).address(),
                                            hasBias ? bias.set(set).address() : 0
                                        },
                                compare));
    }

    /// `op=gemm_batch layout=NT|NN|TN count m n k dtype [out]`: products one behind the other in
    /// memory, beside the same launched singly.
    static PreparedCase batch(Case work, Workbench bench) {
        Gemm gemm = Gemm.on(bench.device());
        int m = work.integer("m");
        int n = work.integer("n");
        int k = work.integer("k");
        Gemm.Shape shape = new Gemm.Shape(Gemm.Layout.valueOf(work.text("layout")), m, n, k);
        Gemm.Batch batch = Gemm.Batch.dense(work.integer("count"), shape);
        int count = batch.count();
        DType dtype = work.dtype();
        DType output = work.dtype("out");
        long elements = (long) m * n;
        long bytes =
                count * (dtype.bytes() * ((long) m * k + (long) k * n) + output.bytes() * elements);
        int sets = bench.sets(bytes);
        Operand a = bench.normal(dtype, count * batch.strideA(), sets);
        Operand b = bench.normal(dtype, count * batch.strideB(), sets);
        Operand c = bench.empty(output, count * elements, sets);
        Runnable compare =
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int index = sample == 0 ? count - 1 : (int) bench.draw((long) count);
                        int row = sample == 0 ? m - 1 : (int) bench.draw((long) m);
                        int column = sample == 0 ? n - 1 : (int) bench.draw((long) n);
                        Sum sum = product(shape, index, a, b, row, column);
                        bench.require(
                                "c[%d, %d, %d]".formatted(index, row, column),
                                output,
                                bench.read(c.set(0), index * elements + (long) row * n + column),
                                sum.exact,
                                sum.magnitude + k * CUT_OFF * Math.abs(sum.exact),
                                ACCUMULATION);
                    }
                };
        IntConsumer singly =
                set -> {
                    for (int i = 0; i < count; i++) {
                        gemm.multiply(
                                shape,
                                a.set(set).slice(i * batch.strideA(), batch.strideA()),
                                b.set(set).slice(i * batch.strideB(), batch.strideB()),
                                c.set(set).slice(i * elements, elements),
                                Epilogue.STORE);
                    }
                };
        return new PreparedCase(
                2.0 * count * m * n * k,
                (double) bytes,
                sets,
                PreparedCase.Clock.DEVICE,
                set ->
                        gemm.multiplyBatch(
                                shape, batch, a.set(set), b.set(set), c.set(set), Epilogue.STORE),
                () -> bench.reset(c),
                compare,
                new PreparedCase.ForPeers(
                        new Work.Product(shape, dtype, output, false, false, count),
                        set ->
                                new long[] {
                                    a.set(set).address(),
                                    b.set(set).address(),
                                    c.set(set).address(),
                                    0
                                },
                        compare),
                List.of(new PreparedCase.Rival("launched singly", singly)));
    }

    private static Epilogue epilogue(String kind, Operand bias, Operand residual, int set) {
        return switch (kind) {
            case "store" -> Epilogue.STORE;
            case "accumulate" -> Epilogue.ACCUMULATE;
            case "bias" -> new Epilogue.Bias(bias.set(set));
            case "gelu" -> new Epilogue.BiasGelu(bias.set(set), null);
            case "residual" -> new Epilogue.Residual(residual.set(set), bias.set(set), null, null);
            default -> throw new IllegalArgumentException("there is no epilogue " + kind);
        };
    }

    /// `op=swiglu_gemm m n k dtype`: gate and up in one product.
    static PreparedCase swiGlu(Case work, Workbench bench) {
        Gemm gemm = Gemm.on(bench.device());
        int m = work.integer("m");
        int n = work.integer("n");
        int k = work.integer("k");
        Gemm.Shape shape = new Gemm.Shape(Gemm.Layout.NT, m, n, k);
        DType dtype = work.dtype();
        long bytes = (long) dtype.bytes() * ((long) m * k + 2L * n * k + (long) m * n);
        int sets = bench.sets(bytes);
        Operand x = bench.normal(dtype, (long) m * k, sets);
        Operand gate = bench.normal(dtype, (long) n * k, sets);
        Operand up = bench.normal(dtype, (long) n * k, sets);
        Operand y = bench.empty(dtype, (long) m * n, sets);
        return PreparedCase.of(
                4.0 * m * n * k,
                (double) bytes,
                sets,
                set ->
                        gemm.swiGlu(
                                m,
                                n,
                                k,
                                x.set(set),
                                gate.set(set),
                                up.set(set),
                                y.set(set),
                                null,
                                null),
                () -> bench.reset(y),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = (int) bench.draw((long) m);
                        int column = (int) bench.draw((long) n);
                        Sum g = product(shape, 0, x, gate, row, column);
                        Sum u = product(shape, 0, x, up, row, column);
                        double exact = Formulas.silu(g.exact) * u.exact;
                        bench.require(
                                "y[%d, %d]".formatted(row, column),
                                dtype,
                                bench.read(y.set(0), (long) row * n + column),
                                exact,
                                Math.abs(exact)
                                        + g.magnitude * Math.abs(u.exact)
                                        + u.magnitude * Math.abs(g.exact),
                                ACCUMULATION);
                    }
                },
                null);
    }

    /// One element of a product.
    ///
    /// @param index which one of a dense batch
    private static Sum product(
            Gemm.Shape shape, int index, Operand a, Operand b, int row, int column) {
        boolean transposedA = shape.layout() == Gemm.Layout.TN;
        boolean transposedB = shape.layout() == Gemm.Layout.NT;
        int k = shape.k();
        long atA = (long) index * shape.m() * k;
        long atB = (long) index * shape.n() * k;
        double sum = 0;
        double magnitude = 0;
        for (int i = 0; i < k; i++) {
            long inA = transposedA ? (long) i * shape.m() + row : (long) row * k + i;
            long inB = transposedB ? (long) column * k + i : (long) i * shape.n() + column;
            double left = a.value(atA + inA);
            double right = b.value(atB + inB);
            sum += left * right;
            magnitude += Math.abs(left * right);
        }
        return new Sum(sum, magnitude);
    }

    /// A sum and that of its terms' absolute values.
    private record Sum(double exact, double magnitude) {
        Sum plus(double term) {
            return new Sum(exact + term, magnitude + Math.abs(term));
        }
    }
}
