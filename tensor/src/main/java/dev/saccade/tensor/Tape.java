package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One step's memory and its operations.
public final class Tape implements AutoCloseable {
    private record Node(List<Tensor> outputs, Runnable backward) {}

    private final Kernels kernels;
    private final boolean recording;
    private final List<DeviceBuffer> buffers = new ArrayList<>();
    private final List<Node> nodes = new ArrayList<>();
    private final Map<Tensor, Tensor> gradients = new IdentityHashMap<>();

    private Tape(Kernels kernels, boolean recording) {
        this.kernels = kernels;
        this.recording = recording;
    }

    public static Tape recording(Kernels kernels) {
        return new Tape(kernels, true);
    }

    public static Tape inference(Kernels kernels) {
        return new Tape(kernels, false);
    }

    public Kernels kernels() {
        return kernels;
    }

    public boolean isRecording() {
        return recording;
    }

    private Tensor make(DType dtype, boolean requiresGrad, long... dims) {
        Shape shape = Shape.of(dims);
        DeviceBuffer buffer = kernels.device().allocate(shape.elements() * dtype.bytes());
        buffers.add(buffer);
        return new Tensor(new Span(buffer, 0, shape.elements(), dtype), shape, requiresGrad);
    }

    public Tensor empty(DType dtype, long... dims) {
        return make(dtype, false, dims);
    }

    public Tensor zeros(long... dims) {
        Tensor t = make(DType.F32, false, dims);
        kernels.elementwise().fill(t.shape().elements(), 0, t.span());
        return t;
    }

    private Tensor upload(MemorySegment host, DType dtype, long... dims) {
        Tensor t = make(dtype, false, dims);
        kernels.device().upload(host, t.span().buffer(), 0);
        return t;
    }

    public Tensor upload(float[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.F32, dims);
    }

    public Tensor upload(int[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.I32, dims);
    }

    public Tensor upload(long[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.I64, dims);
    }

    public Tensor upload(byte[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.U8, dims);
    }

    private boolean needs(@Nullable Object... inputs) {
        if (!recording) {
            return false;
        }
        for (Object input : inputs) {
            if (input instanceof Tensor t && t.requiresGrad()) {
                return true;
            }
            if (input instanceof Parameter p && p.trainable()) {
                return true;
            }
        }
        return false;
    }

    private static Span span(Parameter p) {
        return p.value().span();
    }

    private static @Nullable Span spanOrNull(@Nullable Parameter p) {
        return p == null ? null : p.value().span();
    }

    private static boolean trains(@Nullable Parameter p) {
        return p != null && p.trainable();
    }

    private void addWeightGradient(Parameter w, Tensor dy, Tensor x) {
        int out = dy.width();
        int in = x.width();
        kernels.gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.TN, out, in, x.rows()),
                        dy.span(),
                        x.span(),
                        w.gradient().span(),
                        Epilogue.ACCUMULATE);
    }

    private void addBiasGradient(@Nullable Parameter b, Tensor dy) {
        if (b != null && b.trainable()) {
            kernels.elementwise().sumRows(dy.rows(), dy.width(), dy.span(), b.gradient().span());
        }
    }

    private void addInputGradient(Tensor x, Tensor dy, Parameter w) {
        if (x.requiresGrad()) {
            Tensor dx = make(DType.F32, false, x.rows(), x.width());
            kernels.gemm()
                    .multiply(
                            new Gemm.Shape(Gemm.Layout.NN, x.rows(), x.width(), dy.width()),
                            dy.span(),
                            span(w),
                            dx.span(),
                            Epilogue.STORE);
            accumulate(x, dx);
        }
    }

    public Tensor linear(Tensor x, Parameter weight, @Nullable Parameter bias) {
        int out = (int) weight.shape().dim(0);
        Tensor y = wide(x, out, needs(x, weight, bias));
        Span b = spanOrNull(bias);
        product(x, weight, y, b == null ? Epilogue.STORE : new Epilogue.Bias(b));
        node(
                y,
                () -> {
                    Tensor dy = gradientOf(y);
                    linearBackward(x, weight, bias, dy);
                });
        return y;
    }

    private void linearBackward(Tensor x, Parameter weight, @Nullable Parameter bias, Tensor dy) {
        if (weight.trainable()) {
            addWeightGradient(weight, dy, x);
        }
        addBiasGradient(bias, dy);
        addInputGradient(x, dy, weight);
    }

    private void product(Tensor x, Parameter weight, Tensor y, Epilogue epilogue) {
        kernels.gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NT, x.rows(), y.width(), x.width()),
                        x.span(),
                        span(weight),
                        y.span(),
                        epilogue);
    }

    public Tensor linearGelu(Tensor x, Parameter weight, Parameter bias) {
        boolean grad = needs(x, weight, bias);
        int out = (int) weight.shape().dim(0);
        Tensor y = wide(x, out, grad);
        Tensor z = grad ? make(DType.F32, false, x.rows(), out) : null;
        product(x, weight, y, new Epilogue.BiasGelu(span(bias), z == null ? null : z.span()));
        if (z != null) {
            node(
                    y,
                    () -> {
                        Tensor dy = gradientOf(y);
                        Tensor dz = make(DType.F32, false, y.rows(), y.width());
                        kernels.activation()
                                .geluBackward(
                                        dy.shape().elements(), z.span(), dy.span(), dz.span());
                        linearBackward(x, weight, bias, dz);
                    });
        }
        return y;
    }

    public Tensor linearResidual(
            Tensor x,
            Parameter weight,
            @Nullable Parameter bias,
            @Nullable Parameter scale,
            Tensor residual) {
        boolean grad = needs(x, weight, bias, scale, residual);
        int out = (int) weight.shape().dim(0);
        Tensor y = wide(x, out, grad);
        boolean keep = grad && trains(scale);
        Tensor branch = keep ? make(DType.F32, false, x.rows(), out) : null;
        product(
                x,
                weight,
                y,
                new Epilogue.Residual(
                        residual.span(),
                        spanOrNull(bias),
                        spanOrNull(scale),
                        branch == null ? null : branch.span()));
        node(
                y,
                () -> {
                    Tensor dy = gradientOf(y);
                    Tensor dz = dy;
                    if (scale != null) {
                        dz = make(DType.F32, false, y.rows(), y.width());
                        kernels.elementwise()
                                .layerScaleBackward(
                                        y.rows(),
                                        y.width(),
                                        span(scale),
                                        branch == null ? null : branch.span(),
                                        dy.span(),
                                        dz.span(),
                                        trains(scale) ? scale.gradient().span() : null);
                    }
                    linearBackward(x, weight, bias, dz);
                    accumulate(residual, dy);
                });
        return y;
    }

    public Tensor swiGlu(Tensor x, Parameter gate, Parameter up) {
        boolean grad = needs(x, gate, up);
        int out = (int) gate.shape().dim(0);
        Tensor y = wide(x, out, grad);
        Tensor g = grad ? make(DType.F32, false, x.rows(), out) : null;
        Tensor u = grad ? make(DType.F32, false, x.rows(), out) : null;
        kernels.gemm()
                .swiGlu(
                        x.rows(),
                        out,
                        x.width(),
                        x.span(),
                        span(gate),
                        span(up),
                        y.span(),
                        g == null ? null : g.span(),
                        u == null ? null : u.span());
        if (g != null && u != null) {
            node(
                    y,
                    () -> {
                        Tensor dy = gradientOf(y);
                        kernels.activation()
                                .swiGluBackward(
                                        dy.shape().elements(),
                                        g.span(),
                                        u.span(),
                                        dy.span(),
                                        g.span(),
                                        u.span());
                        linearBackward(x, gate, null, g);
                        linearBackward(x, up, null, u);
                    });
        }
        return y;
    }

    public Tensor layerNorm(Tensor x, Parameter weight, Parameter bias, float eps) {
        boolean grad = needs(x, weight, bias);
        Tensor y = like(x, grad);
        Tensor mean = grad ? make(DType.F32, false, x.rows()) : null;
        Tensor rstd = grad ? make(DType.F32, false, x.rows()) : null;
        kernels.norm()
                .layerNorm(
                        x.rows(), x.width(), eps, x.span(), span(weight), span(bias), y.span(),
                        mean == null ? null : mean.span(), rstd == null ? null : rstd.span());
        if (mean != null && rstd != null) {
            node(y, () -> {
                Tensor dx = x.requiresGrad() ? like(x, false) : null;
                kernels.norm()
                        .layerNormBackward(
                                x.rows(), x.width(), x.span(), span(weight), mean.span(), rstd.span(),
                                gradientOf(y).span(), dx == null ? null : dx.span(),
                                gradientSpan(weight), gradientSpan(bias));
                if (dx != null) {
                    accumulate(x, dx);
                }
            });
        }
        return y;
    }

    public Tensor rmsNorm(Tensor x, Parameter weight, float eps) {
        boolean grad = needs(x, weight);
        Tensor y = like(x, grad);
        Tensor rstd = grad ? make(DType.F32, false, x.rows()) : null;
        kernels.norm()
                .rmsNorm(x.rows(), x.width(), eps, x.span(), span(weight), y.span(),
                        rstd == null ? null : rstd.span());
        if (rstd != null) {
            node(y, () -> {
                Tensor dx = x.requiresGrad() ? like(x, false) : null;
                kernels.norm()
                        .rmsNormBackward(x.rows(), x.width(), x.span(), span(weight), rstd.span(),
                                gradientOf(y).span(), dx == null ? null : dx.span(),
                                gradientSpan(weight));
                if (dx != null) {
                    accumulate(x, dx);
                }
            });
        }
        return y;
    }

    private @Nullable Span gradientSpan(Parameter p) {
        return p.trainable() ? p.gradient().span() : null;
    }

    private Tensor like(Tensor x, boolean grad) {
        Shape shape = x.shape();
        long[] dims = new long[shape.rank()];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = shape.dim(i);
        }
        return make(x.dtype(), grad, dims);
    }

    /// A tensor with the rows of `x` and another width.
    private Tensor wide(Tensor x, long width, boolean grad) {
        Shape shape = x.shape();
        long[] dims = new long[shape.rank()];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = shape.dim(i);
        }
        dims[dims.length - 1] = width;
        return make(x.dtype(), grad, dims);
    }

    private Tensor copyOf(Tensor x, boolean grad) {
        Tensor y = like(x, grad);
        kernels.device().copy(x.span().buffer(), x.span().offset() * x.dtype().bytes(),
                y.span().buffer(), 0, x.span().bytes());
        return y;
    }

    public Tensor rope(Tensor x, RopeTable table, Tensor positions, int headDim) {
        Tensor y = copyOf(x, needs(x));
        int heads = x.width() / headDim;
        kernels.rope().rotate(x.rows(), heads, headDim, table.span(), positions.span(), y.span());
        node(y, () -> {
            Tensor dx = copyOf(gradientOf(y), false);
            kernels.rope().rotateBackward(
                    x.rows(), heads, headDim, table.span(), positions.span(), dx.span());
            accumulate(x, dx);
        });
        return y;
    }

    public Tensor attention(
            Tensor q, Tensor k, Tensor v, Attention.Shape shape, Attention.Sequences sequences) {
        Tensor o = like(q, needs(q, k, v));
        Tensor lse = make(DType.F32, false, q.rows(), shape.heads());
        kernels.attention()
                .forward(shape, sequences, q.span(), k.span(), v.span(), o.span(), lse.span());
        node(o, () -> {
            Tensor dq = like(q, false);
            Tensor dk = like(k, false);
            Tensor dv = like(v, false);
            kernels.attention()
                    .backward(shape, sequences, q.span(), k.span(), v.span(), o.span(), lse.span(),
                            gradientOf(o).span(), dq.span(), dk.span(), dv.span());
            accumulate(q, dq);
            accumulate(k, dk);
            accumulate(v, dv);
        });
        return o;
    }

    public Tensor embedding(Parameter table, Tensor ids) {
        int n = Math.toIntExact(ids.shape().elements());
        int width = table.value().width();
        int count = (int) table.shape().dim(0);
        Tensor y = make(DType.F32, needs(table), n, width);
        kernels.embedding().gather(n, width, count, ids.span(), span(table), y.span());
        node(y, () -> kernels.embedding()
                .scatterAdd(n, width, count, ids.span(), gradientOf(y).span(), table.gradient().span()));
        return y;
    }

    public Tensor takeRows(Tensor x, Tensor rows) {
        int n = Math.toIntExact(rows.shape().elements());
        Tensor y = make(DType.F32, needs(x), n, x.width());
        kernels.embedding().gather(n, x.width(), x.rows(), rows.span(), x.span(), y.span());
        node(y, () -> {
            Tensor dx = zeros(x.rows(), x.width());
            kernels.embedding()
                    .scatterAdd(n, x.width(), x.rows(), rows.span(), gradientOf(y).span(), dx.span());
            accumulate(x, dx);
        });
        return y;
    }

    public Tensor replaceRows(Tensor x, Tensor targetRows, Tensor source, Tensor sourceRows) {
        int n = Math.toIntExact(targetRows.shape().elements());
        int width = x.width();
        Tensor y = copyOf(x, needs(x, source));
        Tensor moved = make(DType.F32, false, n, width);
        kernels.embedding()
                .gather(n, width, source.rows(), sourceRows.span(), source.span(), moved.span());
        kernels.embedding()
                .scatter(n, width, x.rows(), targetRows.span(), moved.span(), y.span());
        node(y, () -> {
            Tensor dy = gradientOf(y);
            if (source.requiresGrad()) {
                Tensor taken = make(DType.F32, false, n, width);
                kernels.embedding()
                        .gather(n, width, x.rows(), targetRows.span(), dy.span(), taken.span());
                Tensor ds = zeros(source.rows(), width);
                kernels.embedding()
                        .scatterAdd(n, width, source.rows(), sourceRows.span(), taken.span(), ds.span());
                accumulate(source, ds);
            }
            if (x.requiresGrad()) {
                Tensor dx = copyOf(dy, false);
                Tensor none = zeros(n, width);
                kernels.embedding()
                        .scatter(n, width, x.rows(), targetRows.span(), none.span(), dx.span());
                accumulate(x, dx);
            }
        });
        return y;
    }

    public Tensor patchEmbedding(
            Tensor pixels,
            Parameter weight,
            @Nullable Parameter bias,
            Parameter cls,
            Parameter positions) {
        int tiles = (int) pixels.shape().dim(0);
        int channels = (int) pixels.shape().dim(1);
        int height = (int) pixels.shape().dim(2);
        int width = (int) pixels.shape().dim(3);
        int out = (int) weight.shape().dim(0);
        int patch = (int) weight.shape().dim(2);
        int patches = (height / patch) * (width / patch);
        int inner = channels * patch * patch;
        Tensor unfolded = make(DType.F32, false, (long) tiles * patches, inner);
        kernels.patch()
                .unfold(tiles, channels, height, width, patch, pixels.span(), unfolded.span());
        Tensor embedded = make(DType.F32, false, (long) tiles * patches, out);
        Span b = spanOrNull(bias);
        product(unfolded, weight, embedded, b == null ? Epilogue.STORE : new Epilogue.Bias(b));
        Tensor y =
                make(DType.F32, needs(weight, bias, cls, positions), tiles, 1L + patches, out);
        kernels.patch()
                .assemble(
                        tiles, patches, out, embedded.span(), span(cls), span(positions), y.span());
        node(
                y,
                () -> {
                    Tensor dEmbedded = like(embedded, false);
                    kernels.patch()
                            .assembleBackward(
                                    tiles,
                                    patches,
                                    out,
                                    gradientOf(y).span(),
                                    dEmbedded.span(),
                                    gradientSpan(cls),
                                    gradientSpan(positions));
                    linearBackward(unfolded, weight, bias, dEmbedded);
                });
        return y;
    }

    public Tensor pixelUnshuffle(Tensor x, int grid) {
        int tiles = (int) x.shape().dim(0);
        int width = x.width();
        int half = grid / 2;
        Tensor y = make(DType.F32, needs(x), (long) tiles * half * half, 4L * width);
        kernels.pixelUnshuffle().forward(tiles, grid, width, x.span(), y.span());
        node(
                y,
                () -> {
                    Tensor dx = like(x, false);
                    kernels.pixelUnshuffle()
                            .backward(tiles, grid, width, gradientOf(y).span(), dx.span());
                    accumulate(x, dx);
                });
        return y;
    }

    public Tensor add(Tensor a, Tensor b) {
        Tensor y = like(a, needs(a, b));
        kernels.elementwise().add(a.shape().elements(), a.span(), b.span(), y.span());
        node(
                y,
                () -> {
                    accumulate(a, gradientOf(y));
                    accumulate(b, gradientOf(y));
                });
        return y;
    }

    public record LogProbs(Tensor logProb, Tensor entropy) {}

    private static final long LOGITS_BYTES = 64L << 20;

    public LogProbs logProbs(
            Tensor hidden,
            Parameter head,
            Tensor targets,
            float temperature,
            @Nullable Tensor banned) {
        boolean grad = needs(hidden, head);
        int rows = hidden.rows();
        int width = hidden.width();
        int vocab = (int) head.shape().dim(0);
        int chunk = (int) Math.max(1, Math.min(rows, LOGITS_BYTES / (4L * vocab)));
        Tensor logProb = make(DType.F32, grad, rows);
        Tensor entropy = make(DType.F32, grad, rows);
        Tensor lse = make(DType.F32, false, rows);
        Span mask = banned == null ? null : banned.span();
        try (DeviceBuffer memory = kernels.device().allocate(4L * chunk * vocab)) {
            Span logits = Span.of(memory, DType.F32);
            for (int from = 0; from < rows; from += chunk) {
                int n = Math.min(chunk, rows - from);
                chunkLogits(hidden, head, from, n, logits);
                kernels.entropy()
                        .forward(
                                n,
                                vocab,
                                temperature,
                                logits,
                                targets.span().slice(from, n),
                                mask,
                                logProb.span().slice(from, n),
                                entropy.span().slice(from, n),
                                lse.span().slice(from, n));
            }
        }
        if (grad) {
            nodes.add(
                    new Node(
                            List.of(logProb, entropy),
                            () -> {
                                Tensor dLogProb = gradients.get(logProb);
                                Tensor dEntropy = gradients.get(entropy);
                                Tensor dx =
                                        hidden.requiresGrad()
                                                ? make(DType.F32, false, rows, width)
                                                : null;
                                try (DeviceBuffer memory =
                                        kernels.device().allocate(4L * chunk * vocab)) {
                                    Span logits = Span.of(memory, DType.F32);
                                    for (int from = 0; from < rows; from += chunk) {
                                        int n = Math.min(chunk, rows - from);
                                        chunkLogits(hidden, head, from, n, logits);
                                        kernels.entropy()
                                                .backward(
                                                        n,
                                                        vocab,
                                                        temperature,
                                                        logits,
                                                        targets.span().slice(from, n),
                                                        mask,
                                                        entropy.span().slice(from, n),
                                                        lse.span().slice(from, n),
                                                        slice(dLogProb, from, n),
                                                        slice(dEntropy, from, n),
                                                        logits);
                                        Span x =
                                                hidden.span()
                                                        .slice((long) from * width, (long) n * width);
                                        if (head.trainable()) {
                                            kernels.gemm()
                                                    .multiply(
                                                            new Gemm.Shape(
                                                                    Gemm.Layout.TN, vocab, width, n),
                                                            logits,
                                                            x,
                                                            head.gradient().span(),
                                                            Epilogue.ACCUMULATE);
                                        }
                                        if (dx != null) {
                                            kernels.gemm()
                                                    .multiply(
                                                            new Gemm.Shape(
                                                                    Gemm.Layout.NN, n, width, vocab),
                                                            logits,
                                                            span(head),
                                                            dx.span()
                                                                    .slice(
                                                                            (long) from * width,
                                                                            (long) n * width),
                                                            Epilogue.STORE);
                                        }
                                    }
                                }
                                if (dx != null) {
                                    accumulate(hidden, dx);
                                }
                            }));
        }
        return new LogProbs(logProb, entropy);
    }

    private static @Nullable Span slice(@Nullable Tensor t, int from, int n) {
        return t == null ? null : t.span().slice(from, n);
    }

    private void chunkLogits(Tensor hidden, Parameter head, int from, int n, Span logits) {
        int width = hidden.width();
        int vocab = (int) head.shape().dim(0);
        kernels.gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NT, n, vocab, width),
                        hidden.span().slice((long) from * width, (long) n * width),
                        span(head),
                        logits,
                        Epilogue.STORE);
    }

    public Tensor logits(Tensor hidden, Parameter head) {
        Tensor y = make(DType.F32, false, hidden.rows(), head.shape().dim(0));
        product(hidden, head, y, Epilogue.STORE);
        return y;
    }

    private void node(Tensor output, Runnable backward) {
        if (output.requiresGrad()) {
            nodes.add(new Node(List.of(output), backward));
        }
    }

    public void record(List<Tensor> inputs, List<Tensor> outputs, Runnable backward) {
        nodes.add(new Node(List.copyOf(outputs), backward));
    }

    public @Nullable Tensor gradient(Tensor t) {
        return gradients.get(t);
    }

    private Tensor gradientOf(Tensor t) {
        Tensor g = gradients.get(t);
        if (g == null) {
            throw new IllegalStateException("no gradient");
        }
        return g;
    }

    /// A gradient tensor may be shared between tensors, so adding makes a new one.
    public void accumulate(Tensor t, Tensor gradient) {
        if (!t.requiresGrad()) {
            return;
        }
        Tensor old = gradients.get(t);
        if (old == null) {
            gradients.put(t, gradient);
        } else {
            Tensor sum = like(old, false);
            kernels.elementwise()
                    .add(old.shape().elements(), old.span(), gradient.span(), sum.span());
            gradients.put(t, sum);
        }
    }

    public void backward(Tensor output, Tensor gradient) {
        backward(Map.of(output, gradient));
    }

    public void backward(Map<Tensor, Tensor> seeds) {
        seeds.forEach(this::accumulate);
        for (int i = nodes.size() - 1; i >= 0; i--) {
            Node node = nodes.get(i);
            boolean reached = false;
            for (Tensor output : node.outputs()) {
                reached |= gradients.containsKey(output);
            }
            if (reached) {
                node.backward().run();
            }
        }
    }

    @Override
    public void close() {
        for (int i = buffers.size() - 1; i >= 0; i--) {
            buffers.get(i).close();
        }
        buffers.clear();
        nodes.clear();
        gradients.clear();
    }
}
