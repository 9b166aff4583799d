package dev.saccade.model.generate;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.DecodeInputs;
import dev.saccade.model.language.KvCache;
import dev.saccade.model.language.LanguageModel;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Drawing one token more for each row of a batch: recorded once, run again for every token. All
/// that changes from token to token is in device memory, and the step itself moves it on: the drawn
/// tokens are written where the step reads its newest ones, and the counters are counted up. So a
/// token costs the host one submission and one download, and an upload only when a row's token is
/// forced.
///
/// A row whose request has finished keeps running in its own pages of the cache and is ignored; it
/// stays inside them, since all rows of a wave began together.
final class DecodeStep implements AutoCloseable {
    /// A batch as small as this is not made smaller: reading the weights is what costs.
    private static final int SMALL = 8;

    /// Where a row stands when the step is made.
    ///
    /// @param newest its newest token
    /// @param position that token's position in the sequence
    /// @param cacheRow that token's row in the cache; those that follow have the next ones
    /// @param pages its pages of the cache
    /// @param prompt a number that it has in common with the rows of the same prompt, which are
    ///   beside it
    /// @param sharedPages the first pages, which those rows have, too
    /// @param key the key of its random numbers
    /// @param drawn how many tokens were drawn
    record Row(
            int newest,
            int position,
            int cacheRow,
            int[] pages,
            int prompt,
            int sharedPages,
            long key,
            int drawn) {}

    private final Device device;
    private final int rows;
    private final Tape memory;
    private final Draws draws;
    private final Replay replay;

    /// @param seen see [Draws]
    /// @param sharingBytes see [SharedPrompts]
    DecodeStep(
            VisionLanguageModel model,
            DrawRules rules,
            KvCache cache,
            Row[] start,
            byte @Nullable [] seen,
            long sharingBytes) {
        this.device = model.kernels().device();
        this.rows = start.length;
        this.memory = Tape.inference(model.kernels());
        try {
            this.draws = new Draws(memory, model, rules, rows, seen);
            this.replay = record(model, cache, start, sharingBytes);
        } catch (RuntimeException e) {
            memory.close();
            throw e;
        }
    }

    private Replay record(
            VisionLanguageModel model, KvCache cache, Row[] start, long sharingBytes) {
        int[] newest = new int[rows];
        long[] keys = new long[rows];
        int[] counts = new int[4 * rows];
        for (int i = 0; i < rows; i++) {
            Row row = start[i];
            newest[i] = row.newest();
            keys[i] = row.key();
            counts[i] = row.position();
            counts[rows + i] = row.cacheRow();
            counts[2 * rows + i] = row.position() + 1;
            counts[3 * rows + i] = row.drawn();
        }
        Tensor tokens = draws.tokens();
        device.upload(
                MemorySegment.ofArray(newest),
                tokens.span().buffer(),
                tokens.span().offset() * DType.I32.bytes());
        Tensor counters = memory.upload(counts, 4, rows);
        Tensor randomKeys = memory.upload(keys, rows);
        DecodeInputs inputs =
                new DecodeInputs(
                        tokens,
                        counters.slice(0, 1).view(rows),
                        counters.slice(1, 1).view(rows),
                        pages(start, counters.slice(2, 1).view(rows)),
                        prefixes(model.config().text(), model.type().dtype(), start, sharingBytes));
        Tensor drawPositions = counters.slice(3, 1).view(rows);
        return device.record(() -> {
            try (Tape tape = Tape.inference(model.kernels())) {
                Tensor hidden = model.decode(tape, inputs, cache);
                draws.draw(tape, model, hidden, randomKeys.span(), drawPositions.span());
                model.kernels().advance().advance(4 * rows, counters.span());
            }
        });
    }

    private Attention.Pages pages(Row[] start, Tensor keyLength) {
        int width = 1;
        for (Row row : start) {
            width = Math.max(width, row.pages().length);
        }
        int[] table = new int[Math.multiplyExact(rows, width)];
        for (int i = 0; i < rows; i++) {
            System.arraycopy(start[i].pages(), 0, table, i * width, start[i].pages().length);
        }
        Span uploaded = memory.upload(table, rows, width).span();
        return new Attention.Pages(rows, 1, width, uploaded, keyLength.span());
    }

    private Attention.@Nullable Prefixes prefixes(
            LanguageConfig config, DType dtype, Row[] start, long sharingBytes) {
        SharedPrompts shared =
                SharedPrompts.of(
                        Arrays.stream(start).mapToInt(Row::prompt).toArray(),
                        Arrays.stream(start).mapToInt(Row::sharedPages).toArray(),
                        KvCache.bytesPerPage(config, dtype) / config.numHiddenLayers(),
                        sharingBytes);
        if (shared == null) {
            return null;
        }
        long state = Attention.stateElements(LanguageModel.attention(config), rows);
        return new Attention.Prefixes(
                shared.groups(),
                shared.largest(),
                memory.upload(shared.start(), shared.start().length).span(),
                memory.upload(shared.pages(), rows).span(),
                memory.empty(DType.F32, state).span());
    }

    /// Whether to go on with this step when `active` of its rows are unfinished, or to make a
    /// smaller one. Recording is free on the host.
    boolean fits(int active) {
        return switch (device) {
            case HostDevice _ -> active == rows;
            case CudaDevice _ -> 2 * active > rows || rows <= SMALL;
        };
    }

    /// Draws a token for each row.
    ///
    /// @param forced the rows' forced tokens, [Draws#FREE] where a row is free
    /// @return what was drawn, row by row
    Draws run(int[] forced) {
        draws.force(forced);
        replay.run();
        draws.download();
        return draws;
    }

    @Override
    public void close() {
        replay.close();
        memory.close();
    }
}
