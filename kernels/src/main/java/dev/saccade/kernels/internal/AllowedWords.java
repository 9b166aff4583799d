package dev.saccade.kernels.internal;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import org.jspecify.annotations.Nullable;

/// Rows of logits as the entropy and the sampling kernels read them: times 1 / temperature, and
/// -infinity at the words that are banned. The bans are widened to floats once per call, so that a
/// vector of logits meets its bans in one comparison.
public final class AllowedWords implements AutoCloseable {
    private final int vocab;
    private final float inverseTemperature;
    private final @Nullable DeviceBuffer buffer;
    private final long flags;

    /// @param banned `[vocab]` U8, 1 = not allowed; null = all allowed
    public AllowedWords(HostDevice device, int vocab, float temperature, @Nullable Span banned) {
        this.vocab = vocab;
        this.inverseTemperature = 1f / temperature;
        if (banned == null) {
            buffer = null;
            flags = 0;
            return;
        }
        long from = banned.require("banned", DType.U8, vocab);
        buffer = device.allocate(4L * vocab);
        flags = buffer.address();
        for (int word = 0; word < vocab; word++) {
            byte ban = HostMemory.SPACE.get(ValueLayout.JAVA_BYTE, from + word);
            Lanes.set(flags + 4L * word, ban == 0 ? 0f : 1f);
        }
    }

    /// How many words there are.
    public int vocab() {
        return vocab;
    }

    /// The scaled logits of the [Lanes#LENGTH] words from `word` on, all of which exist.
    ///
    /// @param row the address of the row's first logit
    public FloatVector scaled(long row, int word) {
        FloatVector z = Lanes.load(row + 4L * word).mul(inverseTemperature);
        if (flags == 0) {
            return z;
        }
        FloatVector ban = Lanes.load(flags + 4L * word);
        return z.blend(Float.NEGATIVE_INFINITY, ban.compare(VectorOperators.NE, 0f));
    }

    /// The scaled logits of the words from `word` on where fewer than [Lanes#LENGTH] are left; the
    /// lanes beyond are -infinity.
    public FloatVector scaledTail(long row, int word) {
        VectorMask<Float> exists = Lanes.first(vocab - word);
        FloatVector z = Lanes.load(row + 4L * word, exists).mul(inverseTemperature);
        VectorMask<Float> none = exists.not();
        if (flags != 0) {
            FloatVector ban = Lanes.load(flags + 4L * word, exists);
            none = none.or(ban.compare(VectorOperators.NE, 0f));
        }
        return z.blend(Float.NEGATIVE_INFINITY, none);
    }

    /// The scaled logit of one word.
    public float scaledAt(long row, int word) {
        if (flags != 0 && Lanes.get(flags + 4L * word) != 0f) {
            return Float.NEGATIVE_INFINITY;
        }
        return Lanes.get(row + 4L * word) * inverseTemperature;
    }

    /// The largest scaled logit of a row, -infinity where there is none. NaN is passed over. A
    /// maximum has no rounding, so its order is free.
    public float maximum(long row) {
        FloatVector a = FloatVector.broadcast(Lanes.SPECIES, Float.NEGATIVE_INFINITY);
        FloatVector b = a;
        int word = 0;
        for (; word <= vocab - 2 * Lanes.LENGTH; word += 2 * Lanes.LENGTH) {
            FloatVector x = scaled(row, word);
            FloatVector y = scaled(row, word + Lanes.LENGTH);
            a = a.blend(x, x.compare(VectorOperators.GT, a));
            b = b.blend(y, y.compare(VectorOperators.GT, b));
        }
        for (; word < vocab; word += Lanes.LENGTH) {
            FloatVector x = scaledTail(row, word);
            a = a.blend(x, x.compare(VectorOperators.GT, a));
        }
        return a.max(b).reduceLanes(VectorOperators.MAX);
    }

    /// The first word whose scaled logit equals `value`, a row's maximum; -1 where that is
    /// -infinity.
    public int first(long row, float value) {
        if (value == Float.NEGATIVE_INFINITY) {
            return -1;
        }
        int word = 0;
        for (; word <= vocab - Lanes.LENGTH; word += Lanes.LENGTH) {
            if (scaled(row, word).compare(VectorOperators.EQ, value).anyTrue()) {
                break;
            }
        }
        while (scaledAt(row, word) != value) {
            word++;
        }
        return word;
    }

    @Override
    public void close() {
        if (buffer != null) {
            buffer.close();
        }
    }
}
