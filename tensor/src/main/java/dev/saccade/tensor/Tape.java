package dev.saccade.tensor;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.attention.PrefixedAttention;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// One step's memory and its operations.
///
/// An operation computes its result at once. On a recording tape it also notes how to go back, if a
/// trainable [Parameter] or a tensor that requires a gradient went into it; [#backward] then
/// replays the notes in reverse. Nothing is computed for what needs no gradient: a frozen parameter
/// costs no product, and below the lowest trainable one the pass stops.
///
/// Memory: every tensor made here lives until [#close()], with two exceptions. The gradient of an
/// operation's result is freed as soon as the operation's own backward has run, and what a backward
/// allocates is freed when it returns. Parameters' gradients are the parameters' own
/// ([Parameter#gradient()]); a backward pass adds to them over all rows in order, each element of a
/// weight matrix in one chain of fused multiply-adds that goes on from what was there (on CUDA
/// biases and norms add up blocks of rows instead, in an order that depends on their number alone).
///
/// Types: a result has the type of the operation's input (embedding and patch embedding: of the
/// weight); a gradient has the type of its tensor; statistics, log-probabilities, entropies, logits
/// and parameters' gradients are F32.
///
/// A tape is used by one thread, and its backward pass runs once. Tensors of wrong shapes are
/// refused with an IllegalArgumentException that shows both shapes.
public final class Tape implements AutoCloseable {
    /// What logits and their gradients may take at a time: on a CPU what it works on fast, on a GPU
    /// enough rows or words for products at full speed.
    private static final long HOST_LOGITS_BYTES = 64L << 20;

    private static final long CUDA_LOGITS_BYTES = 528L << 20;

    private record Node(List<Tensor> outputs, Runnable backward) {}

    private final Kernels kernels;
    private final boolean recording;
    private final long logitsBytes;
    private final StepMemory memory;
    private final Gradients gradients;
    private final List<Node> nodes = new ArrayList<>();
    private boolean replayed;

    private Tape(Kernels kernels, boolean recording, long logitsBytes) {
        this.kernels = kernels;
        this.recording = recording;
        this.logitsBytes = logitsBytes;
        this.memory = new StepMemory(kernels.device());
        this.gradients = new Gradients(kernels, memory);
    }

    /// A tape for training: operations are recorded.
    public static Tape recording(Kernels kernels) {
        return new Tape(kernels, true, logitsBytes(kernels));
    }

    /// A recording tape whose [#logProbs] holds at most `logitsBytes` of logits and their gradients
    /// at once, or the least that it can.
    static Tape recording(Kernels kernels, long logitsBytes) {
        return new Tape(kernels, true, logitsBytes);
    }

    /// A tape that only holds memory: nothing is recorded, no result requires a gradient.
    public static Tape inference(Kernels kernels) {
        return new Tape(kernels, false, logitsBytes(kernels));
    }

    private static long logitsBytes(Kernels kernels) {
        return switch (kernels.device()) {
            case HostDevice _ -> HOST_LOGITS_BYTES;
            case CudaDevice _ -> CUDA_LOGITS_BYTES;
        };
    }

    /// The device's operations.
    public Kernels kernels() {
        return kernels;
    }

    /// Whether operations are recorded.
    public boolean isRecording() {
        return recording;
    }

    // Making tensors.

    /// An uninitialised tensor.
    public Tensor empty(DType dtype, long... dims) {
        return make(dtype, Shape.of(dims), false);
    }

    /// An F32 tensor of zeros.
    public Tensor zeros(long... dims) {
        return zeros(DType.F32, Shape.of(dims));
    }

    /// An F32 tensor of these values.
    public Tensor upload(float[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.F32, values.length, dims);
    }

    /// A tensor of these values, each rounded to nearest even.
    ///
    /// @param dtype F32, BF16 or F16
    public Tensor upload(DType dtype, float[] values, long... dims) {
        Tensor t = make(dtype, shapeOf(values.length, dims), false);
        HostFloats.upload(index -> values[(int) index], t.span());
        return t;
    }

    /// An I32 tensor of these values: token ids, positions, row numbers.
    public Tensor upload(int[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.I32, values.length, dims);
    }

    /// An I64 tensor of these values.
    public Tensor upload(long[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.I64, values.length, dims);
    }

    /// A U8 tensor of these values.
    public Tensor upload(byte[] values, long... dims) {
        return upload(MemorySegment.ofArray(values), DType.U8, values.length, dims);
    }

    /// An F32 tensor whose gradient is wanted although no parameter went into it. Its gradient
    /// stays until the tape closes.
    public Tensor variable(float[] values, long... dims) {
        return variable(DType.F32, values, dims);
    }

    /// As [#variable(float[], long...)], each value rounded to `dtype`.
    public Tensor variable(DType dtype, float[] values, long... dims) {
        Tensor t = upload(dtype, values, dims);
        if (recording) {
            t.requireGrad();
        }
        return t;
    }

    private Tensor upload(MemorySegment host, DType dtype, int count, long... dims) {
        Tensor t = make(dtype, shapeOf(count, dims), false);
        kernels.device().upload(host, t.span().buffer(), 0);
        return t;
    }

    private static Shape shapeOf(int count, long... dims) {
        Shape shape = Shape.of(dims);
        if (shape.elements() != count) {
            throw new IllegalArgumentException(count + " values for a tensor of " + shape);
        }
        return shape;
    }

    // Operations.

    /// A linear layer, `y = x W^T + b`.
    ///
    /// @param x [.., in]
    /// @param weight [out, in]
    /// @param bias [out], or null for none
    /// @return [.., out]
    public Tensor linear(Tensor x, Parameter weight, @Nullable Parameter bias) {
        return LinearOperations.linear(this, x, weight, bias);
    }

    /// A linear layer and GELU (the exact one, by erf), in one product.
    ///
    /// @param x [.., in]
    /// @param weight [out, in]
    /// @param bias [out]
    /// @return [.., out]
    public Tensor linearGelu(Tensor x, Parameter weight, Parameter bias) {
        return LinearOperations.gelu(this, x, weight, bias);
    }

    /// A linear layer that ends a residual branch, `y = residual + scale * (x W^T + b)`, in one
    /// product.
    ///
    /// @param x [.., in]
    /// @param weight [out, in]
    /// @param bias [out], or null for none
    /// @param scale the layer scale [out], or null for 1
    /// @param residual as many rows as x, [.., out]
    /// @return the shape of `residual`
    public Tensor linearResidual(
            Tensor x,
            Parameter weight,
            @Nullable Parameter bias,
            @Nullable Parameter scale,
            Tensor residual) {
        return LinearOperations.residual(this, x, weight, bias, scale, residual);
    }

    /// Qwen2's gated unit, `y = silu(x Wg^T) * (x Wu^T)`.
    ///
    /// @param x [.., in]
    /// @param gate Wg, [out, in]
    /// @param up Wu, [out, in]
    /// @return [.., out]
    public Tensor swiGlu(Tensor x, Parameter gate, Parameter up) {
        return LinearOperations.swiGlu(this, x, gate, up);
    }

    /// LayerNorm over the last dimension.
    ///
    /// @param x [.., width]
    /// @param weight [width]
    /// @param bias [width]
    /// @return the shape of x
    public Tensor layerNorm(Tensor x, Parameter weight, Parameter bias, float eps) {
        return NormOperations.layerNorm(this, x, weight, bias, eps);
    }

    /// RMSNorm over the last dimension.
    ///
    /// @param x [.., width]
    /// @param weight [width]
    /// @return the shape of x
    public Tensor rmsNorm(Tensor x, Parameter weight, float eps) {
        return NormOperations.rmsNorm(this, x, weight, eps);
    }

    /// Two tensors.
    public record Both(Tensor first, Tensor second) {}

    /// [#rmsNorm] of two tensors of one shape in one pass, as of a layer's queries and keys. Where
    /// nothing is recorded the results are in the memory of what was normalised, which may not be
    /// read afterwards: for the results of operations whose way back does not need them, such as
    /// [#linear].
    public Both rmsNormBoth(
            Tensor first, Parameter firstWeight, Tensor second, Parameter secondWeight, float eps) {
        return NormOperations.rmsNormBoth(this, first, firstWeight, second, secondWeight, eps);
    }

    /// Rotates each head by its row's position; x itself stays as it is.
    ///
    /// @param x [.., heads * headDim]
    /// @param table cosines and sines of heads of `headDim`
    /// @param positions I32, one for each row of x, below [RopeTable#positions()]
    /// @return the shape of x
    public Tensor rope(Tensor x, RopeTable table, Tensor positions, int headDim) {
        return AttentionOperations.rope(this, x, table, positions, headDim);
    }

    /// As [#rope], in the memory of x itself: x may not be read afterwards. For the result of an
    /// operation whose way back does not need that result, such as [#linear].
    public Tensor ropeInPlace(Tensor x, RopeTable table, Tensor positions, int headDim) {
        return AttentionOperations.ropeInPlace(this, x, table, positions, headDim);
    }

    /// Attention over packed sequences ([Attention]). Rows that no sequence covers give 0. When
    /// recording, key ranges may not overlap.
    ///
    /// @param q [.., heads * headDim]
    /// @param k [.., kvHeads * headDim]
    /// @param v as k
    /// @return the shape of q
    public Tensor attention(
            Tensor q, Tensor k, Tensor v, Attention.Shape shape, Attention.Sequences sequences) {
        return AttentionOperations.attention(this, q, k, v, shape, sequences);
    }

    /// Attention over packed sequences, some of which have a prefix in common
    /// ([PrefixedAttention]). Rows that no sequence covers give 0. When recording, own keys of
    /// different sequences may not overlap.
    ///
    /// @param q [.., heads * headDim]
    /// @param k [.., kvHeads * headDim]
    /// @param v as k
    /// @return the shape of q
    public Tensor attention(
            Tensor q,
            Tensor k,
            Tensor v,
            Attention.Shape shape,
            PrefixedAttention.Prefixed sequences) {
        return AttentionOperations.attention(this, q, k, v, shape, sequences);
    }

    /// Rows of an embedding table.
    ///
    /// @param table [vocab, width]
    /// @param ids I32, n of them, each below vocab
    /// @return [n, width]
    public Tensor embedding(Parameter table, Tensor ids) {
        return RowOperations.embedding(this, table, ids);
    }

    /// Some rows of a tensor; a row may be taken more than once.
    ///
    /// @param x [.., width]
    /// @param rows I32, n of them
    /// @return [n, width]
    public Tensor takeRows(Tensor x, Tensor rows) {
        return RowOperations.takeRows(this, x, rows);
    }

    /// A copy of x in which some rows come from elsewhere: `y[targetRows[i]] =
    /// source[sourceRows[i]]`. Visual tokens enter the sequence of text embeddings in this way.
    ///
    /// @param x [.., width]
    /// @param targetRows I32 [n], none twice
    /// @param source [.., width]
    /// @param sourceRows I32 [n], may repeat
    /// @return the shape of x
    public Tensor replaceRows(Tensor x, Tensor targetRows, Tensor source, Tensor sourceRows) {
        return RowOperations.replaceRows(this, x, targetRows, source, sourceRows);
    }

    /// The ViT's input: patches through a linear layer, the class token in front, positions added.
    /// Pixels get no gradient.
    ///
    /// @param pixels [tiles, channels, height, width]
    /// @param weight a convolution's [out, channels, patch, patch]
    /// @param bias [out], or null for none
    /// @param cls out elements
    /// @param positions (1 + patches) * out elements
    /// @return [tiles, 1 + patches, out]
    public Tensor patchEmbedding(
            Tensor pixels,
            Parameter weight,
            @Nullable Parameter bias,
            Parameter cls,
            Parameter positions) {
        return VisionOperations.patchEmbedding(this, pixels, weight, bias, cls, positions);
    }

    /// Drops each tile's class token and folds 2 x 2 patches into the channels.
    ///
    /// @param x [tiles, 1 + grid * grid, width]
    /// @param grid patches along a side, even
    /// @return [tiles * (grid / 2)^2, 4 * width]
    public Tensor pixelUnshuffle(Tensor x, int grid) {
        return VisionOperations.pixelUnshuffle(this, x, grid);
    }

    /// A weight and the bias that belongs to it.
    public record Affine(Parameter weight, Parameter bias) {}

    /// The connector: [#pixelUnshuffle], [#layerNorm], [#linearGelu] and [#linear] as one
    /// operation, `y = W2 gelu(W1 norm(unshuffle(x)) + b1) + b2`. Its results and, in F32, its
    /// gradients have the bits of the four in a row; in BF16 the gradient that passes the GELU is
    /// rounded once, not twice.
    ///
    /// @param x [tiles, 1 + grid * grid, width]
    /// @param grid patches along a side, even
    /// @param norm of 4 * width elements each
    /// @param eps the norm's
    /// @param first W1 [inner, 4 * width] and b1 [inner]
    /// @param second W2 [out, inner] and b2 [out]
    /// @return [tiles * (grid / 2)^2, out]
    public Tensor connector(
            Tensor x, int grid, Affine norm, float eps, Affine first, Affine second) {
        return new ConnectorOperation(this, x, grid, norm, eps, first, second).forward();
    }

    /// `a + b`, of equal shapes.
    public Tensor add(Tensor a, Tensor b) {
        require(a.shape().equals(b.shape()) && a.dtype() == b.dtype(), "add", a, b);
        Tensor y = make(a.dtype(), a.shape(), needs(List.of(a, b)));
        kernels.elementwise().add(a.shape().elements(), a.span(), b.span(), y.span());
        note(
                y,
                () -> {
                    Tensor dy = gradientOf(y);
                    accumulate(a, dy);
                    accumulate(b, dy);
                });
        return y;
    }

    /// What the language model says about given tokens.
    ///
    /// @param logProb natural log of the target's probability, F32 [rows]
    /// @param entropy of the distribution it was taken from, in nats, F32 [rows]
    public record LogProbs(Tensor logProb, Tensor entropy) {}

    /// Log-probability and entropy of each row's target under `softmax(hidden W^T / temperature)`.
    /// Logits are held in parts, if at all, and computed again by the backward pass
    /// ([dev.saccade.kernels.head.Head]); neither shows in a result. Both results may be seeds of
    /// the backward pass, together or alone.
    ///
    /// @param hidden [.., width]
    /// @param head [vocab, width]
    /// @param targets I32 [rows], each below vocab and not banned
    /// @param temperature above 0
    /// @param banned U8 [vocab], 1 at tokens without probability; null for none
    public LogProbs logProbs(
            Tensor hidden,
            Parameter head,
            Tensor targets,
            float temperature,
            @Nullable Tensor banned) {
        return new LogProbOperation(this, hidden, head, targets, temperature, banned, logitsBytes)
                .forward();
    }

    /// The logits, `hidden W^T` in F32, for sampling; no gradient.
    ///
    /// @param hidden [.., width]
    /// @param head [vocab, width]
    /// @return [rows, vocab]
    public Tensor logits(Tensor hidden, Parameter head) {
        LinearOperations.requireInput("logits", hidden, head);
        Tensor y = empty(DType.F32, hidden.rows(), head.shape().dim(0));
        LogProbOperation.product(kernels, hidden.span(), hidden.rows(), head, y.span());
        return y;
    }

    // Recording.

    /// Records an operation of one's own whose results are already computed. Does nothing when the
    /// tape isn't recording or no input requires a gradient; otherwise the outputs require one from
    /// now on.
    ///
    /// @param inputs what gradients may go to
    /// @param outputs tensors of this tape that no earlier operation made
    /// @param backward asks [#gradient] for the outputs' gradients, of which at least one has been
    ///   reached, and gives [#accumulate] those of the inputs. Tensors that it makes on this tape
    ///   are freed when it returns
    public void record(List<Tensor> inputs, List<Tensor> outputs, Runnable backward) {
        record(inputs, List.of(), outputs, backward);
    }

    /// As [#record(List, List, Runnable)], for an operation that also has parameters; its backward
    /// adds to [Parameter#gradient()] of those that are trainable.
    public void record(
            List<Tensor> inputs,
            List<Parameter> parameters,
            List<Tensor> outputs,
            Runnable backward) {
        if (!recording) {
            return;
        }
        boolean required = parameters.stream().anyMatch(Parameter::trainable);
        for (Tensor input : inputs) {
            required |= input.requiresGrad();
        }
        if (required) {
            outputs.forEach(Tensor::requireGrad);
            nodes.add(new Node(List.copyOf(outputs), backward));
        }
    }

    /// The gradient that has reached `t`; null where none has. Complete for an operation's output
    /// while its backward runs, and for a [#variable] after the pass; an output's gradient is gone
    /// once its operation's backward has run.
    public @Nullable Tensor gradient(Tensor t) {
        return gradients.of(t);
    }

    /// Adds to the gradient of `t`; nothing happens when `t` requires none. The tape may keep the
    /// memory of `gradient` without a copy, so the caller does not write to it afterwards.
    public void accumulate(Tensor t, Tensor gradient) {
        gradients.accumulate(t, gradient);
    }

    /// Goes back from one output.
    ///
    /// @param gradient of the loss by `output`, in its shape
    public void backward(Tensor output, Tensor gradient) {
        backward(Map.of(output, gradient));
    }

    /// Goes back through all recorded operations, last first, from the gradients of some outputs.
    /// Gradients that meet at a tensor are added in this order, always the same one.
    ///
    /// @param seeds gradients of the loss by outputs; of tensors that share memory only one
    /// @throws IllegalStateException when the tape doesn't record or has gone back before
    public void backward(Map<Tensor, Tensor> seeds) {
        if (!recording || replayed) {
            throw new IllegalStateException(
                    recording ? "this tape has gone back before" : "this tape doesn't record");
        }
        Set<Tensor> roots = Collections.newSetFromMap(new IdentityHashMap<>());
        for (Tensor seeded : seeds.keySet()) {
            if (!roots.add(seeded.root())) {
                throw new IllegalArgumentException("two seeds for one memory, of " + seeded);
            }
        }
        replayed = true;
        memory.runNode(() -> seeds.forEach(this::accumulate));
        for (int i = nodes.size() - 1; i >= 0; i--) {
            Node node = nodes.get(i);
            if (node.outputs().stream().anyMatch(gradients::hasReached)) {
                memory.runNode(node.backward());
                node.outputs().forEach(gradients::drop);
            }
        }
    }

    /// Takes a result over from another tape, which may then close; without a copy where that tape
    /// owns the memory. The gradient stops here.
    public Tensor adopt(Tape maker, Tensor result) {
        if (!maker.memory.handOver(result.span().buffer(), memory)) {
            return copyOf(result, false);
        }
        return new Tensor(result.span(), result.shape(), false);
    }

    /// Frees a tensor of this tape before the tape closes. Nothing may read it afterwards, a
    /// backward pass included.
    public void free(Tensor t) {
        memory.free(t.span().buffer());
    }

    /// Frees an operation's result that nothing reads any more but the gradients of these weights,
    /// where none of them trains: the input of frozen linear layers. On a tape that doesn't record
    /// nothing happens.
    public void freeUnlessTrained(Tensor t, Parameter... weights) {
        if (recording && !needs(List.of(), weights)) {
            free(t);
        }
    }

    /// Frees everything that was made on this tape.
    @Override
    public void close() {
        nodes.clear();
        gradients.clear();
        memory.close();
    }

    // What operations are written with.

    Tensor make(DType dtype, Shape shape, boolean requiresGrad) {
        return new Tensor(memory.allocate(dtype, shape.elements()), shape, requiresGrad);
    }

    /// Of x's type and shape, uninitialised; takes no part in the backward pass.
    Tensor like(Tensor x) {
        return make(x.dtype(), x.shape(), false);
    }

    /// A tensor of zeros.
    Tensor zeros(DType dtype, Shape shape) {
        Tensor t = make(dtype, shape, false);
        Span span = t.span();
        kernels.device().fill(span.buffer(), 0, span.bytes(), (byte) 0);
        return t;
    }

    /// The tensor rounded to `dtype`; itself where it has that type.
    Tensor cast(Tensor x, DType dtype) {
        if (x.dtype() == dtype) {
            return x;
        }
        Tensor y = make(dtype, x.shape(), false);
        kernels.elementwise().cast(x.shape().elements(), x.span(), y.span());
        return y;
    }

    Tensor copyOf(Tensor x, boolean requiresGrad) {
        Tensor y = make(x.dtype(), x.shape(), requiresGrad);
        kernels.device()
                .copy(
                        x.span().buffer(),
                        x.span().offset() * x.dtype().bytes(),
                        y.span().buffer(),
                        0,
                        x.span().bytes());
        return y;
    }

    /// Whether an operation on these has to be recorded.
    boolean needs(List<Tensor> inputs, @Nullable Parameter... parameters) {
        if (!recording) {
            return false;
        }
        for (Tensor input : inputs) {
            if (input.requiresGrad()) {
                return true;
            }
        }
        for (Parameter parameter : parameters) {
            if (parameter != null && parameter.trainable()) {
                return true;
            }
        }
        return false;
    }

    /// Notes how to go back from `output`, if it requires a gradient.
    void note(Tensor output, Runnable backward) {
        note(output.requiresGrad(), List.of(output), backward);
    }

    void note(boolean required, List<Tensor> outputs, Runnable backward) {
        if (required) {
            nodes.add(new Node(outputs, backward));
        }
    }

    /// The gradient of the output whose backward is running.
    Tensor gradientOf(Tensor output) {
        Tensor gradient = gradients.of(output);
        if (gradient == null) {
            throw new IllegalStateException("no gradient has reached " + output);
        }
        return gradient;
    }

    /// As [#gradientOf], but free to be written: the gradient itself where nothing else holds it,
    /// else a copy.
    Tensor writableGradientOf(Tensor output) {
        Tensor gradient = gradientOf(output);
        return gradients.exclusive(output) != null ? gradient : copyOf(gradient, false);
    }

    /// Where the gradient of `t` may be added to in place; null where it has to be accumulated.
    @Nullable Span exclusiveGradient(Tensor t) {
        return gradients.exclusive(t);
    }

    static void require(boolean fits, String operation, Object... operands) {
        if (!fits) {
            StringBuilder message = new StringBuilder(operation).append(" of ");
            for (int i = 0; i < operands.length; i++) {
                message.append(i == 0 ? "" : " and ").append(operands[i]);
            }
            throw new IllegalArgumentException(message.toString());
        }
    }
}
