package dev.saccade.model.generate;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.DecodeInputs;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// Drawing one token more for each row of a batch: recorded once, run again for every token. All
/// that changes from token to token is in device memory, and the step itself moves it on: the drawn
/// tokens are written where the step reads its newest ones, and the counters are counted up. So a
/// token costs the host one submission and one download, and an upload only when a row's token is
/// forced.
///
/// A row whose request has finished keeps running in its own slot of the cache and is ignored; it
/// stays inside the slot, since all rows of a wave began together.
final class DecodeStep implements AutoCloseable {
    /// A batch as small as this is not made smaller: reading the weights is what costs.
    private static final int SMALL = 8;

    /// Where a row stands when the step is made.
    ///
    /// @param newest its newest token
    /// @param position that token's position in the sequence
    /// @param keyStart the first row of its slot in the cache
    /// @param key the key of its random numbers
    /// @param drawn how many tokens were drawn
    record Row(int newest, int position, int keyStart, long key, int drawn) {}

    private final Device device;
    private final int rows;
    private final Tape memory;
    private final Draws draws;
    private final Replay replay;

    /// @param seen see [Draws]
    DecodeStep(
            VisionLanguageModel model,
            DrawRules rules,
            KvCache cache,
            Row[] start,
            byte @Nullable [] seen) {
        this.device = model.kernels().device();
        this.rows = start.length;
        this.memory = Tape.inference(model.kernels());
        try {
            this.draws = new Draws(memory, model, rules, rows, seen);
            this.replay = record(model, cache, start);
        } catch (RuntimeException e) {
            memory.close();
            throw e;
        }
    }

    private Replay record(VisionLanguageModel model, KvCache cache, Row[] start) {
        int[] newest = new int[rows];
        int[] keyStart = new int[rows];
        long[] keys = new long[rows];
        int[] counts = new int[4 * rows];
        for (int i = 0; i < rows; i++) {
            Row row = start[i];
            newest[i] = row.newest();
            keyStart[i] = row.keyStart();
            keys[i] = row.key();
            counts[i] = row.position();
            counts[rows + i] = row.keyStart() + row.position();
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
                        memory.upload(keyStart, rows),
                        counters.slice(2, 1).view(rows));
        Tensor drawPositions = counters.slice(3, 1).view(rows);
        return device.record(() -> {
            try (Tape tape = Tape.inference(model.kernels())) {
                Tensor hidden = model.decode(tape, inputs, cache);
                draws.draw(tape, model, hidden, randomKeys.span(), drawPositions.span());
                model.kernels().advance().advance(4 * rows, counters.span());
            }
        });
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
