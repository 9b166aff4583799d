package dev.saccade.model.generate;

import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.sampling.Sampling;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The tokens drawn for some rows with their log-probabilities and entropies: one piece of device
/// memory, which one download brings to the host.
final class Draws {
    private final int rows;
    private final Tensor memory;
    private final int[] values;

    /// @param tape owns the memory
    Draws(Tape tape, int rows) {
        this.rows = rows;
        this.memory = tape.empty(DType.I32, 3, rows);
        this.values = new int[3 * rows];
    }

    /// The drawn tokens in device memory, I32 [rows].
    Tensor tokens() {
        return memory.slice(0, 1).view(rows);
    }

    private Span floats(int part) {
        Span all = memory.span();
        return new Span(all.buffer(), all.offset() + (long) part * rows, rows, DType.F32);
    }

    /// Draws a token for each row.
    ///
    /// @param hidden [rows, hiddenSize]
    /// @param keys I64 [rows], the random key of each row's request
    /// @param positions I32 [rows], which of the request's tokens this is
    void draw(
            Tape tape,
            VisionLanguageModel model,
            SamplingOptions options,
            Tensor hidden,
            Span keys,
            Span positions) {
        Kernels kernels = model.kernels();
        int vocab = model.config().text().vocabSize();
        // Greedy decoding reports the distribution as it is.
        float temperature = options.temperature() == 0 ? 1 : options.temperature();
        Span logits = model.logits(tape, hidden).span();
        Span banned = model.bannedTokens().span();
        Span tokens = tokens().span();
        kernels.sampling()
                .sample(
                        rows,
                        vocab,
                        new Sampling.Options(options.temperature(), options.topK(), options.topP()),
                        logits,
                        banned,
                        keys,
                        positions,
                        tokens);
        kernels.entropy()
                .forward(
                        rows,
                        vocab,
                        temperature,
                        logits,
                        tokens,
                        banned,
                        floats(1),
                        floats(2),
                        null);
    }

    /// Brings what was drawn last to the host.
    void download() {
        Device device = memory.device();
        Span all = memory.span();
        device.download(all.buffer(), all.offset() * Integer.BYTES, MemorySegment.ofArray(values));
    }

    /// The token of a row, as of the last [#download()].
    int token(int row) {
        return values[row];
    }

    /// Its log-probability.
    float logProb(int row) {
        return Float.intBitsToFloat(values[rows + row]);
    }

    /// The entropy of the distribution that it was drawn from.
    float entropy(int row) {
        return Float.intBitsToFloat(values[2 * rows + row]);
    }
}
