package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.head.Head;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The language model's head and the log-probabilities behind it, by [Head]: logits exist for a
/// part of them at a time only, and the backward pass computes them again. What is held at once
/// does not show in any bit.
final class LogProbOperation {
    private final Tape tape;
    private final Kernels kernels;
    private final Tensor hidden;
    private final Parameter head;
    private final Head.Input input;
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
        int rows = hidden.rows();
        int vocab = Math.toIntExact(head.shape().dim(0));
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
        this.tape = tape;
        this.kernels = tape.kernels();
        this.hidden = hidden;
        this.head = head;
        this.input =
                new Head.Input(
                        rows,
                        hidden.width(),
                        vocab,
                        temperature,
                        hidden.span(),
                        head.value().span(),
                        targets.span(),
                        banned == null ? null : banned.span(),
                        logitsBytes);
        boolean required = tape.needs(List.of(hidden), head);
        this.logProb = tape.make(DType.F32, Shape.of(rows), required);
        this.entropy = tape.make(DType.F32, Shape.of(rows), required);
        this.lse = tape.empty(DType.F32, rows);
    }

    Tape.LogProbs forward() {
        kernels.head()
                .forward(input, Entropy.Results.of(logProb.span(), entropy.span(), lse.span()));
        tape.note(logProb.requiresGrad(), List.of(logProb, entropy), this::backward);
        return new Tape.LogProbs(logProb, entropy);
    }

    private void backward() {
        Tensor dLogProb = tape.gradient(logProb);
        Tensor dEntropy = tape.gradient(entropy);
        Tensor dHidden = hidden.requiresGrad() ? tape.like(hidden) : null;
        kernels.head()
                .backward(
                        input,
                        logProb.span(),
                        entropy.span(),
                        lse.span(),
                        dLogProb == null ? null : dLogProb.span(),
                        dEntropy == null ? null : dEntropy.span(),
                        dHidden == null ? null : dHidden.span(),
                        head.trainable() ? head.gradient().span() : null);
        if (dHidden != null) {
            tape.accumulate(hidden, dHidden);
        }
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
