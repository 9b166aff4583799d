package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.activation.Activation;
import dev.saccade.kernels.gemm.CudaTile.Form;
import dev.saccade.kernels.gemm.Gemm.Layout;
import dev.saccade.kernels.gemm.Gemm.Shape;
import dev.saccade.kernels.internal.VectorMath;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

@Tag("device")
class GemmContractTest {
    /// Extents of every kind: none, one, odd, around the edges of tiles, k beside multiples of 8,
    /// 16 and 32.
    private static final List<int[]> SHAPES =
            List.of(
                    new int[] {1, 1, 1},
                    new int[] {1, 8, 0},
                    new int[] {3, 17, 5},
                    new int[] {1, 136, 128},
                    new int[] {5, 24, 40},
                    new int[] {16, 32, 64},
                    new int[] {17, 33, 31},
                    new int[] {31, 129, 127},
                    new int[] {64, 63, 65},
                    new int[] {65, 72, 136},
                    new int[] {127, 130, 46},
                    new int[] {128, 256, 32},
                    new int[] {129, 264, 72},
                    new int[] {200, 520, 104},
                    new int[] {300, 47, 588});

    private static Stream<Arguments> targetsAndLayouts() {
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(Layout.values()).map(layout -> Arguments.of(target, layout)));
    }

    private static Stream<Arguments> tilesAndForms() {
        return Arrays.stream(CudaTile.values())
                .flatMap(tile ->
                        Arrays.stream(Form.values())
                                .filter(form -> tile.supports(form, true))
                                .map(form -> Arguments.of(tile, form)));
    }

    /// A product's operands as values of T, and what C holds before.
    private record Operands(Layout layout, int m, int n, int k, float[] a, float[] b, float[] old) {
        static Operands random(DType dtype, Layout layout, int m, int n, int k) {
            long seed = 31L * (31L * m + n) + k;
            return new Operands(
                    layout,
                    m,
                    n,
                    k,
                    Buffers.rounded(dtype, Buffers.normal(seed, m * k, 1)),
                    Buffers.rounded(dtype, Buffers.normal(seed + 1, k * n, 0.5)),
                    Buffers.rounded(dtype, Buffers.normal(seed + 2, m * n, 1)));
        }

        static Operands random(DType dtype, Layout layout, int[] shape) {
            return random(dtype, layout, shape[0], shape[1], shape[2]);
        }

        float a(int row, int i) {
            return layout == Layout.TN ? a[i * m + row] : a[row * k + i];
        }

        float b(int i, int column) {
            return layout == Layout.NT ? b[column * k + i] : b[i * n + column];
        }

        Shape shape() {
            return new Shape(layout, m, n, k);
        }

        int count() {
            return m * n;
        }

        double[] exact(boolean accumulate) {
            double[] c = new double[count()];
            for (int row = 0; row < m; row++) {
                for (int column = 0; column < n; column++) {
                    double s = accumulate ? old[row * n + column] : 0;
                    for (int i = 0; i < k; i++) {
                        s += (double) a(row, i) * b(i, column);
                    }
                    c[row * n + column] = s;
                }
            }
            return c;
        }

        /// The fp32 chain, or for BF16 one whose sums are cut off instead of rounded, as tensor
        /// cores do.
        float[] naive(DType dtype, boolean accumulate) {
            float[] c = accumulate ? old.clone() : new float[count()];
            for (int row = 0; row < m; row++) {
                for (int column = 0; column < n; column++) {
                    float s = c[row * n + column];
                    for (int i = 0; i < k; i++) {
                        s =
                                dtype == DType.F32
                                        ? Math.fma(a(row, i), b(i, column), s)
                                        : cut(s + (double) a(row, i) * b(i, column));
                    }
                    c[row * n + column] = s;
                }
            }
            return c;
        }

        private static float cut(double x) {
            float nearest = (float) x;
            return Math.abs((double) nearest) > Math.abs(x)
                    ? Math.nextAfter(nearest, 0.0)
                    : nearest;
        }
    }

    private static void assertSameBits(float[] actual, float[] expected, String what) {
        assertThat(Arrays.mismatch(actual, expected))
                .as("first difference in %s", what)
                .isEqualTo(-1);
    }

    /// The types that C may have.
    private static List<DType> results(Target target) {
        return target.dtype() == DType.F32 ? List.of(DType.F32) : List.of(DType.BF16, DType.F32);
    }

    /// `values` behind `offset` other elements.
    private static Span at(Buffers buffers, DType dtype, int offset, float[] values) {
        float[] all = new float[offset + values.length];
        Arrays.fill(all, 0, offset, 9f);
        System.arraycopy(values, 0, all, offset, values.length);
        return buffers.of(dtype, all).slice(offset, values.length);
    }

    private static Span poison(Buffers buffers, DType dtype, int offset, int count) {
        return buffers.poison(dtype, offset + count).slice(offset, count);
    }

    /// C of a product whose operands all begin `offset` elements into their buffers.
    private static float[] multiply(
            Buffers buffers,
            Gemm gemm,
            DType dtype,
            DType result,
            Operands operands,
            int offset,
            boolean accumulate) {
        Span c =
                accumulate
                        ? at(buffers, result, offset, operands.old)
                        : poison(buffers, result, offset, operands.count());
        gemm.multiply(
                operands.shape(),
                at(buffers, dtype, offset, operands.a),
                at(buffers, dtype, offset, operands.b),
                c,
                accumulate ? Epilogue.ACCUMULATE : Epilogue.STORE);
        return buffers.floats(c);
    }

    @ParameterizedTest
    @MethodSource("targetsAndLayouts")
    void productsAreAccurate(Target target, Layout layout) {
        DType dtype = target.dtype();
        for (int[] shape : SHAPES) {
            try (Buffers buffers = target.open()) {
                Gemm gemm = Gemm.on(buffers.device());
                Operands operands = Operands.random(dtype, layout, shape);
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    boolean adds = accumulate == 1;
                    double[] exact = operands.exact(adds);
                    float[] naive = operands.naive(dtype, adds);
                    for (DType result : results(target)) {
                        String what = operands.shape() + " into " + result;
                        float[] plain = multiply(buffers, gemm, dtype, result, operands, 0, adds);
                        Oracle.assertAccurate(what, result, exact, naive, plain);
                        for (int offset = 1; offset < 3; offset++) {
                            assertSameBits(
                                    multiply(buffers, gemm, dtype, result, operands, offset, adds),
                                    plain,
                                    what + " from element " + offset);
                        }
                        assertSameBits(
                                multiply(buffers, gemm, dtype, result, operands, 0, adds),
                                plain,
                                what + " again");
                    }
                }
            }
        }
    }

    /// How the operands of a batch lie: densely, with gaps of any and of 16-byte size, one of them
    /// shared, shared with rows that follow each other (which makes it one product), and one alone.
    private static List<Gemm.Batch> batches(Shape shape) {
        Gemm.Batch dense = Gemm.Batch.dense(3, shape);
        long a = dense.strideA();
        long b = dense.strideB();
        long c = dense.strideC();
        return List.of(
                dense,
                new Gemm.Batch(3, a + 3, b + 1, c + 5),
                new Gemm.Batch(3, a / 8 * 8 + 16, b / 8 * 8 + 8, c / 8 * 8 + 24),
                new Gemm.Batch(4, 0, b, c),
                new Gemm.Batch(4, a, 0, c + 1),
                new Gemm.Batch(4, a, 0, c),
                Gemm.Batch.dense(1, shape),
                Gemm.Batch.dense(0, shape));
    }

    /// A batch is compared with its products one by one, gaps included.
    private static void compareBatch(
            Buffers buffers,
            Gemm gemm,
            Gemm single,
            DType dtype,
            DType result,
            Shape shape,
            Gemm.Batch batch,
            int offset,
            boolean accumulate) {
        int ofA = shape.m() * shape.k();
        int ofB = shape.k() * shape.n();
        int ofC = shape.m() * shape.n();
        float[] old = normal(result, 5, batch.elements(batch.strideC(), ofC));
        Span a = at(buffers, dtype, offset, normal(dtype, 3, batch.elements(batch.strideA(), ofA)));
        Span b = at(buffers, dtype, offset, normal(dtype, 4, batch.elements(batch.strideB(), ofB)));
        Span c = at(buffers, result, offset, old);
        Span expected = at(buffers, result, offset, old);
        Epilogue epilogue = accumulate ? Epilogue.ACCUMULATE : Epilogue.STORE;
        gemm.multiplyBatch(shape, batch, a, b, c, epilogue);
        for (int i = 0; i < batch.count(); i++) {
            single.multiply(
                    shape,
                    a.slice(i * batch.strideA(), ofA),
                    b.slice(i * batch.strideB(), ofB),
                    expected.slice(i * batch.strideC(), ofC),
                    epilogue);
        }
        assertSameBits(
                buffers.floats(c),
                buffers.floats(expected),
                "%s of %s into %s from element %d, accumulate %s"
                        .formatted(batch, shape, result, offset, accumulate));
    }

    private static float[] normal(DType dtype, long seed, long count) {
        return Buffers.rounded(dtype, Buffers.normal(seed, Math.toIntExact(count), 1));
    }

    @ParameterizedTest
    @MethodSource("targetsAndLayouts")
    void batchesHaveTheBitsOfTheirProducts(Target target, Layout layout) {
        for (int[] size :
                new int[][] {
                    {1, 1, 1},
                    {2, 8, 0},
                    {3, 17, 5},
                    {16, 32, 64},
                    {31, 129, 127},
                    {65, 72, 136},
                    {128, 136, 72}
                }) {
            Shape shape = new Shape(layout, size[0], size[1], size[2]);
            for (Gemm.Batch batch : batches(shape)) {
                try (Buffers buffers = target.open()) {
                    Gemm gemm = Gemm.on(buffers.device());
                    for (DType result : results(target)) {
                        for (int which = 0; which < 4; which++) {
                            compareBatch(
                                    buffers,
                                    gemm,
                                    gemm,
                                    target.dtype(),
                                    result,
                                    shape,
                                    batch,
                                    which / 2,
                                    which % 2 == 1);
                        }
                    }
                }
            }
        }
    }

    /// Products that fill a device are launched one by one on Hopper, smaller ones together.
    @ParameterizedTest
    @EnumSource(Layout.class)
    void productsThatFillADeviceHaveTheSameBitsInABatch(Layout layout) {
        try (Buffers buffers = Target.CUDA_BF16.open()) {
            CudaDevice cuda = (CudaDevice) buffers.device();
            Shape shape = new Shape(layout, 2048, 1152, 80);
            for (DType result : List.of(DType.BF16, DType.F32)) {
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    compareBatch(
                            buffers,
                            new CudaGemm(cuda),
                            new CudaGemm(cuda, null),
                            DType.BF16,
                            result,
                            shape,
                            Gemm.Batch.dense(2, shape),
                            0,
                            accumulate == 1);
                }
            }
        }
    }

    /// More products than a grid is deep.
    @ParameterizedTest
    @EnumSource
    void batchesMayBeLarge(Target target) {
        int count = 70_001;
        float[] a = normal(target.dtype(), 1, count);
        float[] b = normal(target.dtype(), 2, count);
        float[] expected = new float[count];
        for (int i = 0; i < count; i++) {
            expected[i] = a[i] * b[i];
        }
        try (Buffers buffers = target.open()) {
            Shape shape = new Shape(Layout.NT, 1, 1, 1);
            Span c = buffers.poison(DType.F32, count);
            Gemm.on(buffers.device())
                    .multiplyBatch(
                            shape,
                            Gemm.Batch.dense(count, shape),
                            buffers.of(target.dtype(), a),
                            buffers.of(target.dtype(), b),
                            c,
                            Epilogue.STORE);
            assertSameBits(buffers.floats(c), expected, "products of one element");
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongBatchesAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Gemm gemm = Gemm.on(buffers.device());
            Shape shape = new Shape(Layout.NN, 2, 3, 4);
            Span a = buffers.poison(target.dtype(), 16);
            Span b = buffers.poison(target.dtype(), 24);
            Span c = buffers.poison(target.dtype(), 12);
            Gemm.Batch dense = Gemm.Batch.dense(2, shape);
            assertThatThrownBy(
                            () -> gemm.multiplyBatch(shape, dense, a, b, c, new Epilogue.Bias(b)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a batch of products stores or accumulates and has no Bias");
            assertThatThrownBy(() ->
                            gemm.multiplyBatch(
                                    shape, new Gemm.Batch(2, 8, 12, 5), a, b, c, Epilogue.STORE))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("the results of a batch overlap: 6 elements each, 5 apart");
            assertThatThrownBy(() ->
                            gemm.multiplyBatch(
                                    shape, Gemm.Batch.dense(3, shape), a, b, c, Epilogue.STORE))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a holds 16 elements, expected at least 24");
            assertThatThrownBy(() -> new Gemm.Batch(2, 8, -1, 6))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a batch of 2 products with strides 8, -1, 6");
        }
    }

    /// C's type and epilogues change nothing about the sum, so each result is a function of the sum
    /// that a plain product stores in F32.
    @ParameterizedTest
    @MethodSource("targetsAndLayouts")
    void epiloguesWorkOnTheSum(Target target, Layout layout) {
        for (int[] shape : SHAPES) {
            try (Buffers buffers = target.open()) {
                Gemm gemm = Gemm.on(buffers.device());
                Operands operands = Operands.random(target.dtype(), layout, shape);
                float[] sums =
                        multiply(buffers, gemm, target.dtype(), DType.F32, operands, 0, false);
                for (DType result : results(target)) {
                    for (int offset = 0; offset < 2; offset++) {
                        epilogues(buffers, gemm, target.dtype(), result, operands, offset, sums);
                    }
                }
            }
        }
    }

    private static void epilogues(
            Buffers buffers,
            Gemm gemm,
            DType dtype,
            DType result,
            Operands operands,
            int offset,
            float[] sums) {
        int n = operands.n;
        int count = operands.count();
        float[] bias = Buffers.rounded(dtype, Buffers.normal(7, n, 1));
        float[] scale = Buffers.rounded(dtype, Buffers.normal(8, n, 1));
        float[] residual = Buffers.rounded(result, Buffers.normal(9, count, 1));
        float[] biased = new float[count];
        float[] gelu = new float[count];
        float[] full = new float[count];
        float[] scaled = new float[count];
        float[] added = new float[count];
        float[] bare = new float[count];
        float[] slopes = new float[count];
        for (int i = 0; i < count; i++) {
            biased[i] = sums[i] + bias[i % n];
            gelu[i] = VectorMath.gelu(biased[i]);
            full[i] = Math.fma(scale[i % n], biased[i], residual[i]);
            scaled[i] = Math.fma(scale[i % n], sums[i], residual[i]);
            added[i] = residual[i] + biased[i];
            bare[i] = residual[i] + sums[i];
            slopes[i] = sums[i] * VectorMath.geluDerivative(residual[i]);
        }
        Span a = at(buffers, dtype, offset, operands.a);
        Span b = at(buffers, dtype, offset, operands.b);
        Span biasSpan = at(buffers, dtype, offset, bias);
        Span scaleSpan = at(buffers, dtype, offset, scale);
        Span residualSpan = at(buffers, result, offset, residual);
        Span kept = poison(buffers, result, offset, count);
        Span branch = poison(buffers, result, offset, count);
        record Case(String what, Epilogue epilogue, float[] expected, @Nullable Span kept) {}
        for (Case one :
                List.of(
                        new Case("bias", new Epilogue.Bias(biasSpan), biased, null),
                        new Case("gelu", new Epilogue.BiasGelu(biasSpan, null), gelu, null),
                        new Case("gelu, kept", new Epilogue.BiasGelu(biasSpan, kept), gelu, kept),
                        new Case(
                                "residual, bias, scale, branch",
                                new Epilogue.Residual(residualSpan, biasSpan, scaleSpan, branch),
                                full,
                                branch),
                        new Case(
                                "residual, bias, scale",
                                new Epilogue.Residual(residualSpan, biasSpan, scaleSpan, null),
                                full,
                                null),
                        new Case(
                                "residual, scale",
                                new Epilogue.Residual(residualSpan, null, scaleSpan, null),
                                scaled,
                                null),
                        new Case(
                                "residual, bias",
                                new Epilogue.Residual(residualSpan, biasSpan, null, null),
                                added,
                                null),
                        new Case(
                                "residual",
                                new Epilogue.Residual(residualSpan, null, null, null),
                                bare,
                                null),
                        new Case(
                                "gelu backward",
                                new Epilogue.GeluBackward(residualSpan),
                                slopes,
                                null))) {
            String what = one.what + " of " + operands.shape() + " into " + result + " + " + offset;
            Span c = poison(buffers, result, offset, count);
            gemm.multiply(operands.shape(), a, b, c, one.epilogue);
            assertSameBits(buffers.floats(c), Buffers.rounded(result, one.expected), what);
            if (one.kept != null) {
                assertSameBits(
                        buffers.floats(one.kept),
                        Buffers.rounded(result, biased),
                        "what is kept: " + what);
            }
        }
        Span c = at(buffers, result, offset, residual);
        gemm.multiply(
                operands.shape(), a, b, c, new Epilogue.Residual(c, biasSpan, scaleSpan, null));
        assertSameBits(buffers.floats(c), Buffers.rounded(result, full), "residual in place");
        Span replaced = at(buffers, result, offset, residual);
        gemm.multiply(operands.shape(), a, b, replaced, new Epilogue.GeluBackward(replaced));
        assertSameBits(
                buffers.floats(replaced),
                Buffers.rounded(result, slopes),
                "gelu backward in place");
    }

    /// With an F32 result, the bits of a product and the activation's backward pass behind it.
    @ParameterizedTest
    @MethodSource("targetsAndLayouts")
    void geluBackwardIsAProductAndTheActivationsBackwardPass(Target target, Layout layout) {
        for (int[] shape : SHAPES) {
            try (Buffers buffers = target.open()) {
                Operands operands = Operands.random(target.dtype(), layout, shape);
                Span a = buffers.of(target.dtype(), operands.a);
                Span b = buffers.of(target.dtype(), operands.b);
                Span before = buffers.of(Buffers.normal(9, operands.count(), 2));
                Gemm gemm = Gemm.on(buffers.device());
                Span apart = buffers.poison(operands.count());
                gemm.multiply(operands.shape(), a, b, apart, Epilogue.STORE);
                Activation.on(buffers.device())
                        .geluBackward(operands.count(), before, apart, apart);
                Span together = buffers.poison(operands.count());
                gemm.multiply(operands.shape(), a, b, together, new Epilogue.GeluBackward(before));
                assertSameBits(
                        buffers.floats(together),
                        buffers.floats(apart),
                        operands.shape().toString());
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void swiGluIsTwoProductsInOne(Target target) {
        DType dtype = target.dtype();
        for (int[] shape : SHAPES) {
            for (int offset = 0; offset < 2; offset++) {
                try (Buffers buffers = target.open()) {
                    Gemm gemm = Gemm.on(buffers.device());
                    Operands gate = Operands.random(dtype, Layout.NT, shape);
                    float[] weight =
                            Buffers.rounded(dtype, Buffers.normal(99, gate.n * gate.k, 0.5));
                    Operands up =
                            new Operands(
                                    Layout.NT, gate.m, gate.n, gate.k, gate.a, weight, gate.old);
                    float[] g = multiply(buffers, gemm, dtype, DType.F32, gate, 0, false);
                    float[] u = multiply(buffers, gemm, dtype, DType.F32, up, 0, false);
                    float[] expected = new float[gate.count()];
                    for (int i = 0; i < expected.length; i++) {
                        expected[i] = VectorMath.silu(g[i]) * u[i];
                    }
                    float[] rounded = Buffers.rounded(dtype, expected);
                    Span x = at(buffers, dtype, offset, gate.a);
                    Span gateWeight = at(buffers, dtype, offset, gate.b);
                    Span upWeight = at(buffers, dtype, offset, weight);
                    Span out = poison(buffers, dtype, offset, gate.count());
                    Span keptGate = poison(buffers, dtype, offset, gate.count());
                    Span keptUp = poison(buffers, dtype, offset, gate.count());
                    int m = gate.m;
                    int n = gate.n;
                    int k = gate.k;
                    String what = gate.shape() + " + " + offset;
                    gemm.swiGlu(m, n, k, x, gateWeight, upWeight, out, null, null);
                    assertSameBits(buffers.floats(out), rounded, "out alone of " + what);
                    Span again = poison(buffers, dtype, offset, gate.count());
                    gemm.swiGlu(m, n, k, x, gateWeight, upWeight, again, keptGate, keptUp);
                    assertSameBits(buffers.floats(again), rounded, "out of " + what);
                    assertSameBits(
                            buffers.floats(keptGate), Buffers.rounded(dtype, g), "gate " + what);
                    assertSameBits(buffers.floats(keptUp), Buffers.rounded(dtype, u), "up " + what);
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRowNeverDependsOnTheOthers(Target target) {
        DType dtype = target.dtype();
        int n = 136;
        int k = 200;
        try (Buffers buffers = target.open()) {
            Gemm gemm = Gemm.on(buffers.device());
            Operands all = Operands.random(dtype, Layout.NT, 300, n, k);
            Span b = buffers.of(dtype, all.b);
            float[] whole = multiply(buffers, gemm, dtype, DType.F32, all, 0, false);
            for (int rows : new int[] {1, 3, 8, 16, 64, 129}) {
                for (int first = 0; first + rows <= 300; first += 37) {
                    Span a =
                            buffers.of(
                                    dtype,
                                    Arrays.copyOfRange(all.a, first * k, (first + rows) * k));
                    Span c = buffers.poison(rows * n);
                    gemm.multiply(new Shape(Layout.NT, rows, n, k), a, b, c, Epilogue.STORE);
                    assertSameBits(
                            buffers.floats(c),
                            Arrays.copyOfRange(whole, first * n, (first + rows) * n),
                            rows + " rows from " + first);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("targetsAndLayouts")
    void aChainGoesOnWhereItStopped(Target target, Layout layout) {
        DType dtype = target.dtype();
        int m = 33;
        int n = 40;
        int k = 72;
        for (int stop : dtype == DType.F32 ? new int[] {1, 16, 37} : new int[] {16, 48}) {
            try (Buffers buffers = target.open()) {
                Gemm gemm = Gemm.on(buffers.device());
                Operands all = Operands.random(dtype, layout, m, n, k);
                Span c = buffers.poison(m * n);
                gemm.multiply(
                        new Shape(layout, m, n, stop),
                        buffers.of(dtype, part(all, true, 0, stop)),
                        buffers.of(dtype, part(all, false, 0, stop)),
                        c,
                        Epilogue.STORE);
                gemm.multiply(
                        new Shape(layout, m, n, k - stop),
                        buffers.of(dtype, part(all, true, stop, k)),
                        buffers.of(dtype, part(all, false, stop, k)),
                        c,
                        Epilogue.ACCUMULATE);
                assertSameBits(
                        buffers.floats(c),
                        multiply(buffers, gemm, dtype, DType.F32, all, 0, false),
                        "a chain stopped at " + stop);
            }
        }
    }

    /// A or B with the k from `from` to `to`, in its layout.
    private static float[] part(Operands all, boolean isA, int from, int to) {
        int lines = isA ? all.m : all.n;
        boolean alongK = isA ? all.layout != Layout.TN : all.layout == Layout.NT;
        float[] part = new float[lines * (to - from)];
        for (int line = 0; line < lines; line++) {
            for (int i = from; i < to; i++) {
                int at = alongK ? line * (to - from) + i - from : (i - from) * lines + line;
                part[at] = isA ? all.a(line, i) : all.b(i, line);
            }
        }
        return part;
    }

    @ParameterizedTest
    @EnumSource
    void nothingBeyondTheResultIsTouched(Target target) {
        DType dtype = target.dtype();
        for (int[] shape : SHAPES) {
            try (Buffers buffers = target.open()) {
                Gemm gemm = Gemm.on(buffers.device());
                Operands operands = Operands.random(dtype, Layout.NT, shape);
                int count = operands.count();
                float[] frame = Buffers.rounded(dtype, Buffers.normal(5, count + 208, 1));
                Span memory = buffers.of(dtype, frame);
                gemm.multiply(
                        operands.shape(),
                        buffers.of(dtype, operands.a),
                        buffers.of(dtype, operands.b),
                        memory.slice(104, count),
                        Epilogue.STORE);
                float[] product = multiply(buffers, gemm, dtype, dtype, operands, 0, false);
                System.arraycopy(product, 0, frame, 104, count);
                assertSameBits(buffers.floats(memory), frame, "memory around " + operands.shape());
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void anEmptyProductIsNothing(Target target) {
        DType dtype = target.dtype();
        try (Buffers buffers = target.open()) {
            Gemm gemm = Gemm.on(buffers.device());
            Span none = buffers.poison(dtype, 1).slice(1, 0);
            Span some = buffers.of(dtype, 1f, 2f);
            gemm.multiply(new Shape(Layout.NT, 0, 2, 1), none, some, none, Epilogue.STORE);
            gemm.multiply(new Shape(Layout.NN, 2, 0, 1), some, none, none, Epilogue.STORE);
            gemm.swiGlu(0, 2, 1, none, some, some, none, null, null);
            Span c = buffers.poison(dtype, 2);
            gemm.multiply(new Shape(Layout.TN, 1, 2, 0), none, none, c, Epilogue.STORE);
            assertThat(buffers.floats(c)).containsExactly(0f, 0f);
            gemm.multiply(new Shape(Layout.NT, 1, 2, 0), none, none, some, Epilogue.ACCUMULATE);
            assertThat(buffers.floats(some)).containsExactly(1f, 2f);
            gemm.multiply(new Shape(Layout.NN, 1, 2, 0), none, none, c, new Epilogue.Bias(some));
            assertThat(buffers.floats(c)).containsExactly(1f, 2f);
        }
    }

    @ParameterizedTest
    @EnumSource
    void anOperandThatDoesNotFitIsNamed(Target target) {
        DType dtype = target.dtype();
        try (Buffers buffers = target.open()) {
            Gemm gemm = Gemm.on(buffers.device());
            Span six = buffers.poison(dtype, 6);
            Span five = buffers.poison(dtype, 5);
            Span half = buffers.poison(DType.F16, 6);
            Shape shape = new Shape(Layout.NT, 2, 2, 3);
            assertThatThrownBy(() -> gemm.multiply(shape, six, five, six, Epilogue.STORE))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("b holds 5 elements, expected at least 6");
            assertThatThrownBy(() -> gemm.multiply(shape, half, six, six, Epilogue.STORE))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageStartingWith("a is F16, expected F32");
            assertThatThrownBy(() -> gemm.multiply(shape, six, half, six, Epilogue.STORE))
                    .hasMessage("b is F16, expected " + dtype);
            assertThatThrownBy(() -> gemm.multiply(shape, six, six, half, Epilogue.STORE))
                    .hasMessage("c is F16, expected " + dtype);
            assertThatThrownBy(() -> gemm.swiGlu(2, 2, 3, six, six, half, six, null, null))
                    .hasMessage("upWeight is F16, expected " + dtype);
            Epilogue residual = new Epilogue.Residual(half, null, null, null);
            assertThatThrownBy(() -> gemm.multiply(shape, six, six, six, residual))
                    .hasMessage("residual is F16, expected " + dtype);
            Epilogue gelu = new Epilogue.GeluBackward(half);
            assertThatThrownBy(() -> gemm.multiply(shape, six, six, six, gelu))
                    .hasMessage("preActivation is F16, expected " + dtype);
        }
    }

    /// The CUDA device's F32 bits are the CPU's.
    @ParameterizedTest
    @EnumSource
    void cudaComputesTheBitsOfTheCpu(Layout layout) {
        CudaDevice cuda = Target.sharedCuda();
        for (int[] shape : SHAPES) {
            Operands operands = Operands.random(DType.F32, layout, shape);
            float[] bias = Buffers.normal(7, operands.n, 1);
            float[] scale = Buffers.normal(8, operands.n, 1);
            float[][] expected;
            try (HostDevice host = HostDevice.open(2);
                    Buffers buffers = Target.CPU_F32.open()) {
                expected = everyEpilogue(buffers, Gemm.on(host), operands, bias, scale);
            }
            try (Buffers buffers = Target.CUDA_F32.open()) {
                float[][] actual = everyEpilogue(buffers, Gemm.on(cuda), operands, bias, scale);
                for (int i = 0; i < actual.length; i++) {
                    assertSameBits(
                            actual[i], expected[i], "epilogue " + i + " of " + operands.shape());
                }
            }
        }
    }

    private static float[][] everyEpilogue(
            Buffers buffers, Gemm gemm, Operands operands, float[] bias, float[] scale) {
        Span a = buffers.of(operands.a);
        Span b = buffers.of(operands.b);
        Span biasSpan = buffers.of(bias);
        Span scaleSpan = buffers.of(scale);
        Span old = buffers.of(operands.old);
        Epilogue[] epilogues = {
            Epilogue.STORE,
            Epilogue.ACCUMULATE,
            new Epilogue.Bias(biasSpan),
            new Epilogue.BiasGelu(biasSpan, null),
            new Epilogue.Residual(old, biasSpan, scaleSpan, null),
            new Epilogue.GeluBackward(old)
        };
        float[][] results = new float[epilogues.length][];
        for (int i = 0; i < epilogues.length; i++) {
            Span c = buffers.of(operands.old);
            gemm.multiply(operands.shape(), a, b, c, epilogues[i]);
            results[i] = buffers.floats(c);
        }
        return results;
    }

    /// Every tile gives the bits of the tile that the shape would choose.
    @ParameterizedTest
    @MethodSource("tilesAndForms")
    void theTileDoesNotShow(CudaTile tile, Form form) {
        CudaDevice cuda = Target.sharedCuda();
        Gemm chosen = new CudaGemm(cuda, null);
        Gemm forced = new CudaGemm(cuda, (dtype, what, aligned, m, n) -> tile, null);
        Target target = tile.dtype() == DType.F32 ? Target.CUDA_F32 : Target.CUDA_BF16;
        for (int[] shape : new int[][] {{1, 8, 8}, {20, 40, 72}, {136, 264, 328}, {304, 520, 40}}) {
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                assertSameProduct(target, chosen, forced, form, shape, accumulate == 1, "" + tile);
            }
        }
    }

    private static Stream<Arguments> hopperTilesAndForms() {
        return Arrays.stream(HopperTile.values())
                .flatMap(tile ->
                        Arrays.stream(Form.values())
                                .filter(form -> tile.supports(form, false, true, 1))
                                .map(form -> Arguments.of(tile, form)));
    }

    /// The same of Hopper's kernels, whose bits are those of the portable ones.
    @ParameterizedTest
    @MethodSource("hopperTilesAndForms")
    void theHopperTileDoesNotShow(HopperTile tile, Form form) {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperGemm.runsOn(cuda), "not a Hopper GPU");
        Gemm chosen = new CudaGemm(cuda, null);
        Gemm forced = forced(cuda, tile, Integer.MAX_VALUE);
        for (int[] shape :
                new int[][] {
                    {1, 8, 8},
                    {16, 40, 72},
                    {30, 264, 40},
                    {64, 520, 328},
                    {136, 264, 328},
                    {304, 520, 40},
                    {520, 1032, 200}
                }) {
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                if (tile.supports(form, accumulate == 1, true, shape[0])) {
                    assertSameProduct(
                            Target.CUDA_BF16,
                            chosen,
                            forced,
                            form,
                            shape,
                            accumulate == 1,
                            "" + tile);
                }
            }
        }
    }

    private static Gemm forced(CudaDevice cuda, HopperTile tile, int mostClusters) {
        return new CudaGemm(
                cuda,
                new HopperGemm(
                        cuda,
                        (what, fromC, plain, m, n, k) ->
                                tile.supports(what, fromC, plain, m)
                                        ? tile
                                        : HopperTile.COLUMNS_128,
                        mostClusters));
    }

    /// Epilogues go through memory that a block's tiles share: few blocks compute them all here.
    @ParameterizedTest
    @MethodSource("hopperTilesAndForms")
    void hoppersEpiloguesWorkOnTheSum(HopperTile tile, Form form) {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperGemm.runsOn(cuda), "not a Hopper GPU");
        Gemm portable = new CudaGemm(cuda, null);
        Gemm forced = forced(cuda, tile, 2);
        for (int[] shape : new int[][] {{16, 40, 72}, {520, 1032, 200}, {777, 1424, 72}}) {
            if (!tile.supports(form, false, true, shape[0])
                    || (form == Form.TN && shape[0] % 8 != 0)) {
                continue;
            }
            try (Buffers buffers = Target.CUDA_BF16.open()) {
                if (form == Form.SWI_GLU) {
                    float[][] expected = gatedAndKept(buffers, portable, shape);
                    float[][] actual = gatedAndKept(buffers, forced, shape);
                    for (int i = 0; i < expected.length; i++) {
                        assertSameBits(actual[i], expected[i], "result " + i + " by " + tile);
                    }
                    continue;
                }
                Layout layout = Layout.valueOf(form.name());
                Operands operands = Operands.random(DType.BF16, layout, shape);
                float[] sums =
                        multiply(buffers, portable, DType.BF16, DType.F32, operands, 0, false);
                for (DType result : results(Target.CUDA_BF16)) {
                    epilogues(buffers, forced, DType.BF16, result, operands, 0, sums);
                }
            }
        }
    }

    /// Descriptors and the registers' places by themselves: numbers that count through all
    /// elements, times the identity, from either side.
    @ParameterizedTest
    @MethodSource("hopperTilesAndForms")
    void hopperGivesBackWhatTheIdentityTakes(HopperTile tile, Form form) {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperGemm.runsOn(cuda), "not a Hopper GPU");
        if (form == Form.SWI_GLU) {
            return; // its operands are those of NT
        }
        Layout layout = Layout.valueOf(form.name());
        Gemm forced = forced(cuda, tile, Integer.MAX_VALUE);
        int m = tile.isFew() ? tile.fetchRows() : 272;
        int n = 208;
        try (Buffers buffers = Target.CUDA_BF16.open()) {
            // 256 is the last of the whole numbers that bf16 has without a gap.
            float[] counted = new float[m * n];
            for (int i = 0; i < counted.length; i++) {
                counted[i] = i * 7 % 257;
            }
            float[] transposed = new float[m * n];
            for (int i = 0; i < counted.length; i++) {
                transposed[i % n * m + i / n] = counted[i];
            }
            Operands left =
                    new Operands(
                            layout,
                            m,
                            n,
                            n,
                            layout == Layout.TN ? transposed : counted,
                            identity(n),
                            counted);
            for (DType result : results(Target.CUDA_BF16)) {
                assertSameBits(
                        multiply(buffers, forced, DType.BF16, result, left, 0, false),
                        counted,
                        "counted x identity, " + left.shape() + " by " + tile);
                Operands right =
                        new Operands(
                                layout,
                                m,
                                n,
                                m,
                                identity(m),
                                layout == Layout.NT ? transposed : counted,
                                counted);
                assertSameBits(
                        multiply(buffers, forced, DType.BF16, result, right, 0, false),
                        counted,
                        "identity x counted, " + right.shape() + " by " + tile);
            }
        }
    }

    private static float[] identity(int size) {
        float[] identity = new float[size * size];
        for (int i = 0; i < size; i++) {
            identity[i * size + i] = 1;
        }
        return identity;
    }

    private static float[][] gatedAndKept(Buffers buffers, Gemm gemm, int[] shape) {
        int m = shape[0];
        int n = shape[1];
        int k = shape[2];
        Span x = buffers.of(DType.BF16, Buffers.normal(1, m * k, 1));
        Span gateWeight = buffers.of(DType.BF16, Buffers.normal(2, n * k, 0.5));
        Span upWeight = buffers.of(DType.BF16, Buffers.normal(3, n * k, 0.5));
        Span[] results = new Span[4];
        for (int i = 0; i < results.length; i++) {
            results[i] = buffers.poison(DType.BF16, m * n);
        }
        gemm.swiGlu(m, n, k, x, gateWeight, upWeight, results[0], results[1], results[2]);
        gemm.swiGlu(m, n, k, x, gateWeight, upWeight, results[3], null, null);
        return Arrays.stream(results).map(buffers::floats).toArray(float[][]::new);
    }

    private static void assertSameProduct(
            Target target,
            Gemm chosen,
            Gemm forced,
            Form form,
            int[] shape,
            boolean accumulate,
            String tile) {
        int m = shape[0];
        int n = shape[1];
        int k = shape[2];
        DType dtype = target.dtype();
        try (Buffers buffers = target.open()) {
            if (form == Form.SWI_GLU) {
                Span x = buffers.of(dtype, Buffers.normal(1, m * k, 1));
                Span gate = buffers.of(dtype, Buffers.normal(2, n * k, 0.5));
                Span up = buffers.of(dtype, Buffers.normal(3, n * k, 0.5));
                Span expected = buffers.poison(dtype, m * n);
                Span actual = buffers.poison(dtype, m * n);
                chosen.swiGlu(m, n, k, x, gate, up, expected, null, null);
                forced.swiGlu(m, n, k, x, gate, up, actual, null, null);
                assertSameBits(buffers.floats(actual), buffers.floats(expected), "swiGlu " + tile);
            } else if (form != Form.TN || m % 8 == 0) {
                Layout layout = Layout.valueOf(form.name());
                Operands operands = Operands.random(dtype, layout, m, n, k);
                for (DType result : results(target)) {
                    assertSameBits(
                            multiply(buffers, forced, dtype, result, operands, 0, accumulate),
                            multiply(buffers, chosen, dtype, result, operands, 0, accumulate),
                            operands.shape() + " by " + tile);
                }
            }
        }
    }

    /// Whether Hopper's wgmma and the portable mma.sync give an element the same bits.
    @ParameterizedTest
    @EnumSource
    void hopperAndPortableKernelsAgreeInTheirBits(Form form) {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperGemm.runsOn(cuda), "not a Hopper GPU");
        for (int[] shape : new int[][] {{16, 40, 72}, {136, 264, 328}, {520, 1032, 1000}}) {
            assertSameProduct(
                    Target.CUDA_BF16,
                    new CudaGemm(cuda, null),
                    new CudaGemm(cuda),
                    form,
                    shape,
                    false,
                    "Hopper");
        }
    }

    /// A sum that cancels shows whether the chain starts from C and goes up: 1 is lost in 2^25.
    @Test
    void theChainStartsFromC() {
        try (Buffers buffers = Target.CPU_F32.open()) {
            Span c = buffers.of(0x1p25f);
            Gemm.on(buffers.device())
                    .multiply(
                            new Shape(Layout.NT, 1, 1, 2),
                            buffers.of(1f, -0x1p25f),
                            buffers.of(1f, 1f),
                            c,
                            Epilogue.ACCUMULATE);
            assertThat(buffers.floats(c)).containsExactly(0f);
        }
    }
}
