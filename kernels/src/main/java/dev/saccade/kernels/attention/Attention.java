package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Scaled dot-product attention over packed sequences of different lengths, with grouped-query
/// heads, full or causal, forward and backward; one function serves training, prefill and decode.
///
/// For sequence s, query i (0 <= i < queryLength) has absolute position `p = keyLength -
/// queryLength + i` and sees keys j <= p when causal, all keys otherwise. `o = sum_j
/// softmax_j(scale * q.k_j) v_j`. Query head h reads key-value head `h / (heads / kvHeads)`. Keys
/// are visited in blocks of one fixed size aligned at absolute position 0, from left to right, with
/// an online fp32 softmax, so that a query's result has the same bits whether it is computed alone
/// (decode), in a chunk or in the whole sequence. A query without keys gets o = 0 and lse = -inf.
///
/// Types: q, k, v, o and their gradients are all F32, or on CUDA all BF16 (head dimensions up to
/// 128; F32 there up to 256); lse is F32. Sums are fp32 in each case. In BF16 the operands of a
/// product are rounded to it: each softmax weight, relative to a maximum so far, before it
/// multiplies v; the weight and dS before they multiply dO, q and k. No operand may overlap a
/// result. On CUDA the scale must be positive, and a value or key that is not finite may also spoil
/// queries of its sequence that don't see it, but less than 256 positions before it.
public interface Attention {

    /// Keys per block of the online softmax, on each device; it fixes the rounding.
    int KEY_BLOCK = 32;

    /// Keys per page of a cache: whole blocks.
    int PAGE = 64;

    /// What a row's state has beside its sums of values: a shift and partial sums of weights, in an
    /// order of each device's own.
    int STATE_ROOM = 40;

    /// The extents of a call.
    ///
    /// @param heads query heads
    /// @param kvHeads key-value heads; divides `heads`
    /// @param headDim elements per head
    /// @param causal whether a query sees only keys up to its own position
    /// @param scale the factor on q.k, usually headDim^-0.5
    record Shape(int heads, int kvHeads, int headDim, boolean causal, float scale) {
        public Shape {
            if (heads < 1 || kvHeads < 1 || headDim < 1 || heads % kvHeads != 0) {
                throw new IllegalArgumentException(
                        "attention of %d heads, %d kv heads, head dim %d"
                                .formatted(heads, kvHeads, headDim));
            }
        }
    }

    /// Where each sequence lies; all arrays have one entry a sequence. They are host-side arrays
    /// that must not change once a call has seen them: the launcher uploads them where a device
    /// needs that, once for calls with the same ones.
    ///
    /// @param queryStart the sequence's first row in q, o and lse
    /// @param queryLength how many query rows; 0 is allowed
    /// @param keyStart the sequence's first row in k and v
    /// @param keyLength how many keys; at least queryLength when causal
    record Sequences(int[] queryStart, int[] queryLength, int[] keyStart, int[] keyLength) {

        /// Packed self-attention: queries and keys of sequence s are the rows cumulative[s] to
        /// cumulative[s+1].
        public static Sequences packed(int[] cumulative) {
            int count = cumulative.length - 1;
            int[] start = new int[count];
            int[] length = new int[count];
            for (int s = 0; s < count; s++) {
                start[s] = cumulative[s];
                length[s] = cumulative[s + 1] - cumulative[s];
            }
            return new Sequences(start, length, start, length);
        }

        /// How many sequences.
        public int count() {
            return queryStart.length;
        }

        /// Rows of q, o that the call covers: the largest end of a query range.
        public int queryRows() {
            int rows = 0;
            for (int s = 0; s < queryStart.length; s++) {
                rows = Math.max(rows, queryStart[s] + queryLength[s]);
            }
            return rows;
        }

        /// Rows of k, v that the call covers: the largest end of a key range.
        public int keyRows() {
            int rows = 0;
            for (int s = 0; s < keyStart.length; s++) {
                rows = Math.max(rows, keyStart[s] + keyLength[s]);
            }
            return rows;
        }
    }

    /// Where the sequences of a decode step lie in a cache of pages of [#PAGE] rows.
    ///
    /// @param sequences how many
    /// @param queries new queries of each, at least 1
    /// @param width entries of a row of the table; a sequence has at most `width * PAGE` keys
    /// @param table I32 [sequences, width]: the page that has the keys `PAGE * i` to `PAGE * i +
    ///   63` of a sequence is entry i of its row; entries behind its last key are not looked at
    /// @param keyLength I32 [sequences]: the keys of each with its new ones, at least `queries`
    record Pages(int sequences, int queries, int width, Span table, Span keyLength) {
        public Pages {
            if (sequences < 0 || queries < 1 || width < 1) {
                throw new IllegalArgumentException(
                        "%d sequences with %d queries in tables of %d pages"
                                .formatted(sequences, queries, width));
            }
        }

        /// Rows of q and o.
        public int tokens() {
            return Math.multiplyExact(sequences, queries);
        }
    }

    /// Which sequences of a decode step begin with the same pages.
    ///
    /// @param groups how many groups of sequences; each sequence is in one, perhaps alone
    /// @param largest sequences of the largest group
    /// @param start I32 [groups + 1]: group g is the sequences `start[g]` to `start[g + 1]`
    /// @param shared I32 [sequences]: how many pages the sequence's row of the table has in common
    ///   with those of its whole group, the same number throughout the group, all of them before
    ///   the sequence's new keys; 0 for a group that doesn't share
    /// @param state F32 [stateElements]: memory that the call uses, see [#stateElements]; it begins
    ///   on 16 bytes
    record Prefixes(int groups, int largest, Span start, Span shared, Span state) {}

    /// Elements of the memory that [Prefixes] need.
    ///
    /// @param tokens rows of q
    static long stateElements(Shape shape, int tokens) {
        // In BF16, heads are filled up to a multiple of 8.
        return (long) tokens * shape.heads() * (Math.ceilDiv(shape.headDim(), 8) * 8 + STATE_ROOM);
    }

    /// Forward. q and o are [queryRows, heads*headDim], k and v [keyRows, kvHeads*headDim], lse
    /// [queryRows, heads] fp32 receives the natural log of the softmax denominator (after scaling).
    void forward(Shape shape, Sequences sequences, Span q, Span k, Span v, Span o, Span lse);

    /// A few new queries for each sequence of a cache in pages, read from device memory all of it,
    /// so that a recorded decode step can run again after the sequences have grown: the queries are
    /// the last ones of their sequence, and see the keys up to their own positions. The bits are
    /// those of a causal [#forward] over the same keys. Sequences are taken in their order: with
    /// the longest first, what a device does last is short.
    ///
    /// With `prefixes`, sequences that begin with the same pages walk over those together, which
    /// reads them once: each row's unfinished sums go to `prefixes.state()`, from where the row
    /// goes on over its own pages. That is the same chain of additions, so it doesn't show in the
    /// bits.
    ///
    /// @param prefixes what sequences have in common; null for nothing
    /// @param q, o [sequences * queries, heads*headDim]: a sequence's queries follow each other
    /// @param k, v all rows of the cache, of kvHeads*headDim; page p has the rows 64 p to 64 p + 63
    /// @param lse [sequences * queries, heads] F32
    void decode(
            Shape shape,
            Pages pages,
            @Nullable Prefixes prefixes,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse);

    /// Backward from dO, with o and lse as the forward pass left them. dq, dk and dv are written
    /// (not accumulated) for all rows that a sequence covers; the key ranges of different sequences
    /// may not overlap. Sums over queries and over a group's heads run in a fixed order.
    void backward(
            Shape shape,
            Sequences sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv);

    /// The implementation for `device`.
    static Attention on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostAttention(host);
            case CudaDevice cuda -> new CudaAttention(cuda);
        };
    }
}
