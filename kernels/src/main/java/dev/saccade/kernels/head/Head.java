package dev.saccade.kernels.head;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.sampling.Sampling;
import org.jspecify.annotations.Nullable;

/// The language model's head fused with [Entropy] and [Sampling]: from hidden states to the
/// log-probability and entropy of each row's distribution over the vocabulary, and back, and to a
/// token drawn from it, without ever holding all logits. At a vocabulary of 151,674 the logits of
/// 8192 tokens would take 5 GB.
///
/// `logits = hidden W^T` with `hidden [rows, width]` and `W [vocab, width]`, in F32; results as
/// [Entropy] defines them. Backward: `dHidden = dLogits W`, `dW += dLogits^T hidden`, where dLogits
/// are made from logits that are computed again, and rounded to the operands' type.
///
/// **Types.** hidden and W have one type: F32 on the CPU, F32 or BF16 on CUDA. dHidden has it, too,
/// rounded once; dW and all of [Entropy.Results] are F32 (argmax I32).
///
/// **Bits.** Those of [Gemm] into F32 logits, and of [Entropy] and [Sampling] on them: the forward
/// pass of a trainer gives what a sampler got, and a sampler draws the same tokens, whether or not
/// they store logits. A row's results depend on nothing else in the batch. dHidden is the unbroken
/// chain over the vocabulary, dW the unbroken chain over the rows that goes on from its old value,
/// whatever is held at once. Everything is deterministic.
///
/// **Memory.** Beside operands and results at most about `scratchBytes`, or what one row (forward)
/// or 16 words (backward) take; plus for BF16 F32 sums of dHidden, 4 rows x width bytes, where
/// dLogits are made in several parts. On Hopper a forward pass takes no scratch but 16 bytes a row
/// for each 1024 words (for each 256 up to 2048 rows): at 8192 tokens of 151,674 words 20 MB. With
/// a scratch of 528 MB a backward pass of 8192 tokens takes 640 MB at a width of 3584 and 688 MB at
/// 5120.
///
/// **Where.** The CPU, and CUDA for what the next sentences don't name, make the logits of some
/// rows (forward) or of some words (backward) at a time. On Hopper, BF16 whose width is a multiple
/// of 8 goes through kernels in which logits stay in registers: forward with any number of rows,
/// drawing with up to 64 or more than 128, backward with more than 64. Back to stored logits go
/// draws with top-k, top-p or min-p, which take a second look at a row, and draws that are also
/// asked for the most probable word.
public interface Head {

    /// What both passes read.
    ///
    /// @param temperature above 0; logits are divided by it
    /// @param hidden [rows, width]
    /// @param weight [vocab, width]
    /// @param targets I32 [rows], each below vocab
    /// @param banned U8 [vocab], 1 = not allowed; null = all allowed
    /// @param scratchBytes how much memory may be used for logits and their gradients at a time
    record Input(
            int rows,
            int width,
            int vocab,
            float temperature,
            Span hidden,
            Span weight,
            Span targets,
            @Nullable Span banned,
            long scratchBytes) {
        public Input {
            if (rows < 0 || width < 1 || vocab < 1 || !(temperature > 0) || scratchBytes < 0) {
                throw new IllegalArgumentException(
                        "head: %d rows of %d, vocabulary of %d, temperature %s, scratch of %d bytes"
                                .formatted(rows, width, vocab, temperature, scratchBytes));
            }
        }
    }

    /// How tokens are drawn, besides what [Input] says: `banned` words have no probability and are
    /// never drawn.
    ///
    /// @param options the rule of [Sampling]; its temperature is the input's, or 0
    /// @param keys I64 [rows], the random key of each row's sequence
    /// @param positions I32 [rows], the position of the token drawn
    /// @param withheld U8 [vocab], 1 = not drawn although it may have a probability; the banned
    ///   words have to be among them. null = the banned words
    /// @param forced I32 [rows], the word that a row takes instead of the drawn one, negative where
    ///   it is free; null where all are
    record Draw(
            Sampling.Options options,
            Span keys,
            Span positions,
            @Nullable Span withheld,
            @Nullable Span forced) {}

    /// Forward.
    ///
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit
    void forward(Input input, Entropy.Results results);

    /// Draws a token for each row, by [Sampling#sample] and [Sampling#settle], and gives what
    /// [#forward] gives for these tokens.
    ///
    /// A row without a word to draw and a forced word beyond the vocabulary are reported as those
    /// do it, the row's results then undefined.
    ///
    /// @param input its targets receive the tokens, its temperature is that of the log-probability
    ///   and entropy
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit, or
    ///   where the draw's temperature is neither 0 nor the input's
    void sample(Input input, Draw draw, Entropy.Results results);

    /// Backward, for upstream gradients of log-probability and entropy, F32 [rows], together or
    /// alone (null = 0).
    ///
    /// @param logProb what the forward pass gave, F32 [rows]
    /// @param entropy what the forward pass gave, F32 [rows]
    /// @param lse what the forward pass gave, F32 [rows]
    /// @param dHidden [rows, width], written; null where it isn't needed
    /// @param dWeight F32 [vocab, width], added to; null where it isn't needed
    /// @throws IllegalArgumentException naming the operand whose type or length does not fit
    void backward(
            Input input,
            Span logProb,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            @Nullable Span dHidden,
            @Nullable Span dWeight);

    /// The implementation for `device`.
    static Head on(Device device) {
        ChunkedHead chunked = ChunkedHead.of(device);
        return switch (device) {
            case HostDevice _ -> chunked;
            case CudaDevice cuda ->
                    HopperHead.runsOn(cuda) ? new HopperHead(cuda, chunked) : chunked;
        };
    }
}
