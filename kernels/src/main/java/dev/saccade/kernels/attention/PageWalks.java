package dev.saccade.kernels.attention;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Pages;
import dev.saccade.kernels.attention.Attention.Prefixes;
import dev.saccade.kernels.attention.ForwardPass.Walk;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What a decode step on the CPU walks over: first the pages that groups share, for all queries of
/// a group, then each sequence's own ones. Nothing is read before all of it has been checked.
final class PageWalks {
    private final int[] table;
    private final int width;
    private final List<Walk> shared = new ArrayList<>();
    private final List<Walk> own = new ArrayList<>();
    private long keys;

    /// @param pageCount pages of the cache
    /// @param chunk the most queries of a walk
    PageWalks(Pages pages, @Nullable Prefixes prefixes, long pageCount, int chunk) {
        int sequences = pages.sequences();
        int queries = pages.queries();
        width = pages.width();
        table = ints("table", pages.table(), Math.multiplyExact(sequences, width));
        int[] length = ints("keyLength", pages.keyLength(), sequences);
        int[] skipped = new int[sequences];
        if (prefixes != null) {
            int[] start = ints("start", prefixes.start(), prefixes.groups() + 1);
            skipped = ints("shared", prefixes.shared(), sequences);
            for (int group = 0; group < prefixes.groups(); group++) {
                int first = start[group];
                int end = start[group + 1];
                if (first < 0
                        || end < first
                        || end > sequences
                        || end - first > prefixes.largest()) {
                    throw new IllegalArgumentException(
                            "group %d is the sequences %d to %d of %d, at most %d"
                                    .formatted(group, first, end, sequences, prefixes.largest()));
                }
                for (int s = first + 1; s < end; s++) {
                    requireSame(skipped, first, s);
                }
                if (end > first && skipped[first] > 0) {
                    int tokens = (end - first) * queries;
                    addWalks(
                            shared,
                            (long) first * queries,
                            tokens,
                            chunk,
                            first,
                            0,
                            skipped[first] * Attention.PAGE,
                            false);
                }
            }
        }
        for (int s = 0; s < sequences; s++) {
            int before = length[s] - queries;
            if (before < 0 || length[s] > width * Attention.PAGE) {
                throw new IllegalArgumentException(
                        "sequence %d has %d keys, expected %d to %d"
                                .formatted(s, length[s], queries, width * Attention.PAGE));
            }
            if (skipped[s] < 0 || skipped[s] * Attention.PAGE > before) {
                throw new IllegalArgumentException(
                        "sequence %d of %d keys shares %d pages"
                                .formatted(s, length[s], skipped[s]));
            }
            for (int i = 0; i * Attention.PAGE < length[s]; i++) {
                int page = table[s * width + i];
                if (page < 0 || page >= pageCount) {
                    throw new IndexOutOfBoundsException(
                            "page %d of sequence %d is %d of %d".formatted(i, s, page, pageCount));
                }
            }
            keys += length[s];
            addWalks(
                    own,
                    (long) s * queries,
                    queries,
                    chunk,
                    s,
                    skipped[s] * Attention.PAGE,
                    length[s],
                    true);
        }
    }

    private void requireSame(int[] skipped, int first, int s) {
        boolean same =
                skipped[s] == skipped[first]
                        && skipped[s] <= width
                        && Arrays.equals(
                                table,
                                first * width,
                                first * width + skipped[s],
                                table,
                                s * width,
                                s * width + skipped[s]);
        if (!same) {
            throw new IllegalArgumentException(
                    "sequences %d and %d of a group share other pages".formatted(first, s));
        }
    }

    /// @param causal whether each query sees one key more than the one before, the last one all;
    ///   otherwise all see all
    private void addWalks(
            List<Walk> walks,
            long firstToken,
            int tokens,
            int chunk,
            int sequence,
            int from,
            int to,
            boolean causal) {
        int row = sequence * width;
        for (int first = 0; first < tokens; first += chunk) {
            int count = Math.min(chunk, tokens - first);
            int seen = causal ? to - tokens + first + count : to;
            walks.add(
                    new Walk(
                            firstToken + first,
                            count,
                            causal ? to - tokens + first : to - 1,
                            from,
                            seen,
                            key ->
                                    (long) table[row + key / Attention.PAGE] * Attention.PAGE
                                            + key % Attention.PAGE));
        }
    }

    private static int[] ints(String name, Span span, int count) {
        long address = span.require(name, DType.I32, count);
        return HostMemory.segment(address, 4L * count).toArray(ValueLayout.JAVA_INT);
    }

    List<Walk> shared() {
        return shared;
    }

    List<Walk> own() {
        return own;
    }

    /// Keys of all sequences.
    long keys() {
        return keys;
    }
}
