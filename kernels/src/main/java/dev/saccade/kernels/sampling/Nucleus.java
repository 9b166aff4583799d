package dev.saccade.kernels.sampling;

import dev.saccade.kernels.internal.AllowedWords;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Where top-k, top-p and min-p cut a row: exactly, over the words sorted by z from the largest
/// down, the lower id first among equals. Top-k cuts first; top-p then keeps the shortest prefix
/// whose share of the remaining mass reaches p (Holtzman et al., 1904.09751); min-p asks for a
/// least z.
///
/// For top-k and top-p only the words within some distance of the largest z are sorted, and the
/// distance grows until the cut lies among them; the prefix that decides is the same for any
/// distance. One instance serves one worker.
final class Nucleus {
    private static final float FIRST_REACH = 10f;

    /// Beyond this distance an exponential is 0, and the next reach is everything.
    private static final float LAST_REACH = 90f;

    private final AllowedWords words;
    private final int topK;
    private final float topP;
    private final float reach;
    private final long[] sorted;
    private final float[] lanes = new float[Lanes.LENGTH];
    private float cut;
    private int cutWord;

    Nucleus(AllowedWords words, Sampling.Options options) {
        int topK = options.topK();
        this.words = words;
        this.topK = topK == 0 ? words.vocab() : Math.min(topK, words.vocab());
        this.topP = options.topP();
        this.reach = options.reach();
        this.sorted = new long[words.vocab()];
    }

    /// z of the last word kept.
    float cut() {
        return cut;
    }

    /// The last word kept.
    int cutWord() {
        return cutWord;
    }

    /// Finds the cut of the row at an address.
    void find(long row) {
        float max = words.maximum(row);
        cut = Float.NEGATIVE_INFINITY;
        cutWord = Integer.MAX_VALUE;
        if (Math.abs(max) == Float.POSITIVE_INFINITY) {
            return; // no word, or one that wins whatever the noise
        }
        if (topK < words.vocab() || topP < 1) {
            find(row, max);
        }
        float least = max + reach;
        if (least > cut) {
            cut = least;
            cutWord = Integer.MAX_VALUE;
        }
    }

    /// Finds where top-k and top-p cut.
    private void find(long row, float max) {
        boolean all = topK == words.vocab();
        double rowMass = all && topP < 1 ? mass(row, max) : 0;
        for (float reach = FIRST_REACH; ; reach *= 2) {
            boolean whole = reach > LAST_REACH;
            int count = collect(row, whole ? -Float.MAX_VALUE : max - reach);
            if (count < topK && !all && !whole) {
                continue;
            }
            Arrays.sort(sorted, 0, count);
            int kept = Math.min(count, topK);
            if (topP < 1) {
                double total = all ? rowMass : prefixMass(kept, max);
                int reached = reaching(topP * total, kept, max);
                if (reached == 0 && all && !whole) {
                    continue;
                }
                kept = reached == 0 ? kept : reached;
            }
            cut = value(sorted[kept - 1]);
            cutWord = (int) sorted[kept - 1];
            return;
        }
    }

    /// Fills `sorted` with the words of z at least `least`; returns how many.
    private int collect(long row, float least) {
        int count = 0;
        int vocab = words.vocab();
        for (int word = 0; word < vocab; word += Lanes.LENGTH) {
            FloatVector z = at(row, word);
            if (z.compare(VectorOperators.GE, least).anyTrue()) {
                z.intoArray(lanes, 0);
                for (int lane = 0; lane < Lanes.LENGTH; lane++) {
                    if (lanes[lane] >= least) {
                        sorted[count++] = entry(lanes[lane], word + lane);
                    }
                }
            }
        }
        return count;
    }

    /// The mass of a row in units of its likeliest word's, added in double in the words' order. A
    /// NaN carries none.
    private double mass(long row, float max) {
        double mass = 0;
        int vocab = words.vocab();
        for (int word = 0; word < vocab; word += Lanes.LENGTH) {
            VectorMath.expNotPositive(at(row, word).sub(max)).intoArray(lanes, 0);
            for (float lane : lanes) {
                mass += lane > 0 ? lane : 0;
            }
        }
        return mass;
    }

    private double prefixMass(int count, float max) {
        double mass = 0;
        for (int i = 0; i < count; i++) {
            mass += VectorMath.exp(value(sorted[i]) - max);
        }
        return mass;
    }

    /// How many of the first `count` words have at least `wanted` mass together; 0 where all have
    /// less.
    private int reaching(double wanted, int count, float max) {
        double mass = 0;
        for (int i = 0; i < count; i++) {
            mass += VectorMath.exp(value(sorted[i]) - max);
            if (mass >= wanted) {
                return i + 1;
            }
        }
        return 0;
    }

    private FloatVector at(long row, int word) {
        return word <= words.vocab() - Lanes.LENGTH
                ? words.scaled(row, word)
                : words.scaledTail(row, word);
    }

    /// A word as a number that sorts by z downwards, then by id upwards.
    private static long entry(float z, int word) {
        int bits = Float.floatToRawIntBits(z + 0f); // -0 becomes 0: they are equal
        int ordered = bits ^ ((bits >> 31) & Integer.MAX_VALUE);
        return ((long) ~ordered << 32) | word;
    }

    private static float value(long entry) {
        int ordered = ~(int) (entry >> 32);
        return Float.intBitsToFloat(ordered ^ ((ordered >> 31) & Integer.MAX_VALUE));
    }
}
