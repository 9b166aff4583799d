package dev.saccade.model.generate;

import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.head.Head;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The tokens drawn for some rows with their log-probabilities, entropies and, where tokens are
/// watched, those tokens' mass: one piece of device memory, which one download brings to the host.
/// Beside it lies what drawing asks of each row: which token is forced, and which tokens its
/// sequence has already.
final class Draws {
    /// A row whose token is drawn.
    static final int FREE = -1;

    private final int rows;
    private final DrawRules rules;
    private final Tensor memory;
    private final @Nullable Tensor seen;
    private final @Nullable Tensor forced;
    private final int[] values;
    private int[] forcedNow;

    /// @param tape owns the memory
    /// @param seen [rows, vocabSize], not 0 where a row's sequence has a token; null where nothing
    ///   is penalised
    Draws(Tape tape, VisionLanguageModel model, DrawRules rules, int rows, byte @Nullable [] seen) {
        this.rows = rows;
        this.rules = rules;
        int kept = rules.watched() == null ? 3 : 4;
        this.memory = tape.empty(DType.I32, kept, rows);
        this.values = new int[kept * rows];
        this.seen =
                seen == null ? null : tape.upload(seen, rows, model.config().text().vocabSize());
        this.forcedNow = new int[rows];
        Arrays.fill(forcedNow, FREE);
        this.forced = rules.guided() ? tape.upload(forcedNow, rows) : null;
    }

    /// The drawn tokens in device memory, I32 [rows].
    Tensor tokens() {
        return memory.slice(0, 1).view(rows);
    }

    private Span floats(int part) {
        Span all = memory.span();
        return new Span(all.buffer(), all.offset() + (long) part * rows, rows, DType.F32);
    }

    /// Says which rows' next tokens are forced; [#FREE] where none is. Nothing is uploaded where
    /// nothing has changed.
    void force(int[] next) {
        if (forced == null || Arrays.equals(next, forcedNow)) {
            return;
        }
        forcedNow = next.clone();
        Span span = forced.span();
        forced.device()
                .upload(
                        MemorySegment.ofArray(forcedNow),
                        span.buffer(),
                        span.offset() * Integer.BYTES);
    }

    /// Draws a token for each row.
    ///
    /// @param hidden [rows, hiddenSize]
    /// @param keys I64 [rows], the random key of each row's request
    /// @param positions I32 [rows], which of the request's tokens this is
    void draw(Tape tape, VisionLanguageModel model, Tensor hidden, Span keys, Span positions) {
        // What is kept is what the trainer computes: from the logits and bans of the model alone.
        Entropy.Results kept =
                new Entropy.Results(
                        floats(1),
                        floats(2),
                        null,
                        null,
                        null,
                        rules.watched() == null ? null : rules.watched().span(),
                        rules.watched() == null ? null : floats(3));
        if (seen == null) {
            Head.Draw draw =
                    new Head.Draw(
                            rules.options().filters(),
                            keys,
                            positions,
                            rules.banned() == model.bannedTokens() ? null : rules.banned().span(),
                            forced == null ? null : forced.span());
            model.draw(hidden, temperature(), draw, tokens(), kept);
        } else {
            drawPenalised(tape, model, hidden, keys, positions, seen, kept);
        }
    }

    /// Greedy decoding reports the distribution as it is.
    private float temperature() {
        float temperature = rules.options().temperature();
        return temperature == 0 ? 1 : temperature;
    }

    /// The penalty changes single logits of a row, which is what they are stored for.
    private void drawPenalised(
            Tape tape,
            VisionLanguageModel model,
            Tensor hidden,
            Span keys,
            Span positions,
            Tensor seen,
            Entropy.Results kept) {
        Kernels kernels = model.kernels();
        SamplingOptions options = rules.options();
        int vocab = model.config().text().vocabSize();
        Span logits = model.logits(tape, hidden).span();
        Span tokens = tokens().span();
        Span penalised = tape.empty(DType.F32, rows, vocab).span();
        kernels.sampling()
                .penalise(rows, vocab, options.repetitionPenalty(), logits, seen.span(), penalised);
        kernels.sampling()
                .sample(
                        rows,
                        vocab,
                        options.filters(),
                        penalised,
                        rules.banned().span(),
                        keys,
                        positions,
                        tokens);
        kernels.sampling()
                .settle(rows, vocab, forced == null ? null : forced.span(), seen.span(), tokens);
        kernels.entropy()
                .forward(
                        Entropy.Rows.dense(rows, vocab, temperature(), logits),
                        tokens,
                        model.bannedTokens().span(),
                        kept);
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

    /// The mass of the watched tokens in that distribution; NaN where none are watched.
    float mass(int row) {
        return rules.watched() == null ? Float.NaN : Float.intBitsToFloat(values[3 * rows + row]);
    }
}
