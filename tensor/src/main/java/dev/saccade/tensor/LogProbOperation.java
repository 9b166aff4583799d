package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The language model's head and the entropy kernel behind it. A vocabulary of 150,000 makes half a
/// megabyte of logits a token, so they exist for some rows at a time only. Rows are independent,
/// and the head's gradient continues its chains from chunk to chunk, so chunks don't show in any
/// bit.
final class LogProbOperation {
    /// Rows that a product adds at once in BF16 ([Gemm]).
    private static final int LINK = 16;

    private final Tape tape;
    private final Kernels kernels;
    private final Tensor hidden;
    private final Parameter head;
    private final Tensor targets;
    private final float temperature;
    private final @Nullable Span banned;
    private final int rows;
    private final int width;
    private final int vocab;
    private final int chunk;
    private final Tensor logProb;
    private final Tensor entropy;
    private final Tensor lse;

    LogProbOperation(
            Tape tape,
            Tensor hidden,
            Parameter head,
            Tensor targets,
            float temperature,
            @Nullable Tensor banned,
            long logitsBytes) {
        LinearOperations.requireInput("logProbs", hidden, head);
        this.tape = tape;
        this.kernels = tape.kernels();
        this.hidden = hidden;
        this.head = head;
        this.targets = targets;
        this.temperature = temperature;
        this.banned = banned == null ? null : banned.span();
        this.rows = hidden.rows();
        this.width = hidden.width();
        this.vocab = Math.toIntExact(head.shape().dim(0));
        Tape.require(
                targets.shape().elements() == rows
                        && (banned == null || banned.shape().elements() == vocab)
                        && temperature > 0,
                "logProbs",
                hidden,
                head,
                targets,
                banned == null ? "no banned tokens" : banned,
                "temperature " + temperature);
        long most = Math.max(1, logitsBytes / ((long) Float.BYTES * Math.max(1, vocab)));
        // The head's gradient goes on from chunk to chunk as one chain where chunks end with a
        // link.
        long whole = most < LINK ? most : most / LINK * LINK;
        this.chunk = (int) Math.min(Math.max(1, rows), whole);
        boolean required = tape.needs(List.of(hidden), head);
        this.logProb = tape.make(DType.F32, Shape.of(rows), required);
        this.entropy = tape.make(DType.F32, Shape.of(rows), required);
        this.lse = tape.empty(DType.F32, rows);
    }

    Tape.LogProbs forward() {
        try (StepMemory scratch = new StepMemory(kernels.device())) {
            Span logits = scratch.allocate(DType.F32, (long) chunk * vocab);
            for (int from = 0; from < rows; from += chunk) {
                int count = Math.min(chunk, rows - from);
                product(kernels, hiddenRows(from, count), count, head, logits);
                kernels.entropy()
                        .forward(
                                count,
                                vocab,
                                temperature,
                                logits,
                                targets.span().slice(from, count),
                                banned,
                                logProb.span().slice(from, count),
                                entropy.span().slice(from, count),
                                lse.span().slice(from, count));
            }
        }
        tape.note(logProb.requiresGrad(), List.of(logProb, entropy), this::backward);
        return new Tape.LogProbs(logProb, entropy);
    }

    private void backward() {
        Tensor dLogProb = tape.gradient(logProb);
        Tensor dEntropy = tape.gradient(entropy);
        Tensor dHidden = hidden.requiresGrad() ? tape.like(hidden) : null;
        Span logits = tape.empty(DType.F32, chunk, vocab).span();
        // Products take operands of one type: the gradient is rounded to it as it is made.
        Span dLogits =
                hidden.dtype() == DType.F32
                        ? logits
                        : tape.empty(hidden.dtype(), chunk, vocab).span();
        for (int from = 0; from < rows; from += chunk) {
            int count = Math.min(chunk, rows - from);
            product(kernels, hiddenRows(from, count), count, head, logits);
            kernels.entropy()
                    .backward(
                            count,
                            vocab,
                            temperature,
                            logits,
                            targets.span().slice(from, count),
                            banned,
                            entropy.span().slice(from, count),
                            lse.span().slice(from, count),
                            dLogProb == null ? null : dLogProb.span().slice(from, count),
                            dEntropy == null ? null : dEntropy.span().slice(from, count),
                            dLogits);
            if (head.trainable()) {
                kernels.gemm()
                        .multiply(
                                new Gemm.Shape(Gemm.Layout.TN, vocab, width, count),
                                dLogits,
                                hiddenRows(from, count),
                                head.gradient().span(),
                                Epilogue.ACCUMULATE);
            }
            if (dHidden != null) {
                kernels.gemm()
                        .multiply(
                                new Gemm.Shape(Gemm.Layout.NN, count, width, vocab),
                                dLogits,
                                head.value().span(),
                                dHidden.span().slice((long) from * width, (long) count * width),
                                Epilogue.STORE);
            }
        }
        if (dHidden != null) {
            tape.accumulate(hidden, dHidden);
        }
    }

    private Span hiddenRows(int from, int count) {
        return hidden.span().slice((long) from * width, (long) count * width);
    }

    /// `logits = hidden W^T` in F32.
    static void product(Kernels kernels, Span hidden, int rows, Parameter head, Span logits) {
        int vocab = Math.toIntExact(head.shape().dim(0));
        int width = Math.toIntExact(head.shape().elements() / Math.max(1, vocab));
        kernels.gemm()
                .multiply(
                        new Gemm.Shape(Gemm.Layout.NT, rows, vocab, width),
                        hidden,
                        head.value().span(),
                        logits,
                        Epilogue.STORE);
    }
}
