package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/// What the kernels named `prefixed` of `attention/hopper.cu` and `hopper_backward.cu` work on, in
/// device memory: what [TileList] is to the others.
///
/// @param key what the lists were made for
/// @param numbers the lists
/// @param buffer the lists, one behind the other
record PrefixedTiles(Key key, Numbers numbers, DeviceBuffer buffer) {
    private static final int QUERY_INTS = 8;
    private static final int KEY_INTS = 5;

    /// All that decides the lists; see [TileList.Key].
    ///
    /// @param tile queries or keys of a tile
    /// @param seam keys of a seam: of a tile of keys that streams past queries
    record Key(Prefixed sequences, int tile, int seam, boolean causal) {}

    /// The lists; tiles with the most work come first, so that what a GPU does last is short.
    ///
    /// @param queries tiles of queries, for each {queryStart, queryLength, first row of the own
    ///   keys, keys with the prefix, first query of the tile, first row of the prefix, keys of the
    ///   prefix, row of the seam}
    /// @param keys tiles of keys, for each {first walk, walks, first row of the range, keys of the
    ///   range, first key of the tile}: ranges are cut so that the same sequences see all their
    ///   keys
    /// @param walks the sequences that walk over a range, first those whose own keys it is, else in
    ///   their order: for each {queryStart, queryLength, keys with the prefix, place of the range
    ///   among them}
    /// @param seams the row in k and v of each row of the seams: where a sequence's prefix ends
    ///   between two multiples of [Key#seam], its keys from one to the other
    /// @param rows how many rows of k and v are keys
    record Numbers(int[] queries, int[] keys, int[] walks, int[] seams, int rows) {

        int queryTiles() {
            return queries.length / QUERY_INTS;
        }

        int keyTiles() {
            return keys.length / KEY_INTS;
        }
    }

    static PrefixedTiles upload(CudaDevice device, Key key) {
        Numbers numbers = numbers(key);
        DeviceBuffer buffer =
                RecentLists.upload(
                        device, numbers.queries, numbers.keys, numbers.walks, numbers.seams);
        return new PrefixedTiles(key, numbers, buffer);
    }

    long queries() {
        return buffer.address();
    }

    long keys() {
        return queries() + 4L * numbers.queries.length;
    }

    long walks() {
        return keys() + 4L * numbers.keys.length;
    }

    Span seams() {
        int before = numbers.queries.length + numbers.keys.length + numbers.walks.length;
        return new Span(buffer, before, numbers.seams.length, DType.I32);
    }

    static Numbers numbers(Key key) {
        Prefixed sequences = key.sequences;
        int[] seamOf = new int[sequences.own().count()];
        int[] seams = seams(sequences, key.seam, seamOf);
        List<Range> ranges = ranges(sequences);
        int[] walks =
                ranges.stream()
                        .flatMap(range -> range.walks.stream())
                        .flatMapToInt(Walk::numbers)
                        .toArray();
        int rows = ranges.stream().mapToInt(Range::length).sum();
        return new Numbers(queries(key, seamOf), keys(key, ranges), walks, seams, rows);
    }

    private static int[] queries(Key key, int[] seamOf) {
        Sequences own = key.sequences.own();
        List<Listed> tiles = new ArrayList<>();
        for (int s = 0; s < own.count(); s++) {
            int length = own.queryLength()[s];
            int prefix = key.sequences.prefixLength()[s];
            int keys = prefix + own.keyLength()[s];
            for (int first = 0; first < length; first += key.tile) {
                int last = Math.min(first + key.tile, length);
                tiles.add(
                        new Listed(
                                key.causal ? keys - length + last : keys,
                                own.queryStart()[s],
                                length,
                                own.keyStart()[s],
                                keys,
                                first,
                                key.sequences.prefixStart()[s],
                                prefix,
                                seamOf[s]));
            }
        }
        return inOrder(tiles);
    }

    private static int[] keys(Key key, List<Range> ranges) {
        List<Listed> tiles = new ArrayList<>();
        int walk = 0;
        for (Range range : ranges) {
            for (int first = 0; first < range.length; first += key.tile) {
                long work = 0;
                for (Walk of : range.walks) {
                    int offset = of.keys - of.queryLength;
                    int unseen = key.causal ? Math.max(0, of.place + first - offset) : 0;
                    work += of.queryLength - unseen;
                }
                tiles.add(
                        new Listed(
                                work, walk, range.walks.size(), range.start, range.length, first));
            }
            walk += range.walks.size();
        }
        return inOrder(tiles);
    }

    /// A tile's numbers, and the queries or keys that it walks over.
    private record Listed(long work, int... numbers) {}

    private static int[] inOrder(List<Listed> tiles) {
        return tiles.stream()
                .sorted(Comparator.comparingLong(Listed::work).reversed())
                .flatMapToInt(tile -> IntStream.of(tile.numbers))
                .toArray();
    }

    /// @param seamOf receives each sequence's first row among the seams
    private static int[] seams(Prefixed sequences, int seam, int[] seamOf) {
        Sequences own = sequences.own();
        IntStream.Builder rows = IntStream.builder();
        int count = 0;
        for (int s = 0; s < own.count(); s++) {
            int prefix = sequences.prefixLength()[s];
            if (prefix % seam == 0) {
                continue;
            }
            seamOf[s] = count;
            count += seam;
            int last = prefix + own.keyLength()[s] - 1;
            int from = prefix / seam * seam;
            for (int key = from; key < from + seam; key++) {
                // Nobody looks at what is behind the last key.
                int at = Math.min(key, last);
                rows.add(
                        at < prefix
                                ? sequences.prefixStart()[s] + at
                                : own.keyStart()[s] + at - prefix);
            }
        }
        return rows.build().toArray();
    }

    /// Keys that the same sequences walk over.
    record Range(int start, int length, List<Walk> walks) {}

    /// A sequence with a range among its keys.
    ///
    /// @param keys how many it has
    /// @param place of the range's first key among them
    record Walk(int sequence, int queryStart, int queryLength, int keys, int place) {

        IntStream numbers() {
            return IntStream.of(queryStart, queryLength, keys, place);
        }
    }

    /// All keys in the order in which they lie in memory. The sequences of a range are first that
    /// whose own keys it has, then the others in their order.
    static List<Range> ranges(Prefixed sequences) {
        Sequences own = sequences.own();
        int[] cuts = cuts(sequences);
        List<Range> ranges = new ArrayList<>();
        for (int i = 0; i + 1 < cuts.length; i++) {
            ranges.add(new Range(cuts[i], cuts[i + 1] - cuts[i], new ArrayList<>()));
        }
        for (int s = 0; s < own.count(); s++) {
            int prefix = sequences.prefixLength()[s];
            walk(ranges, cuts, sequences, s, own.keyStart()[s], own.keyLength()[s], prefix);
        }
        for (int s = 0; s < own.count(); s++) {
            int length = sequences.prefixLength()[s];
            walk(ranges, cuts, sequences, s, sequences.prefixStart()[s], length, 0);
        }
        ranges.removeIf(range -> range.walks.isEmpty());
        return ranges;
    }

    /// The rows at which a sequence's own keys or its prefix begin or end.
    static int[] cuts(Prefixed sequences) {
        Sequences own = sequences.own();
        return IntStream.concat(
                        ends(own.keyStart(), own.keyLength()),
                        ends(sequences.prefixStart(), sequences.prefixLength()))
                .sorted()
                .distinct()
                .toArray();
    }

    private static IntStream ends(int[] start, int[] length) {
        return IntStream.range(0, start.length)
                .filter(s -> length[s] > 0)
                .flatMap(s -> IntStream.of(start[s], start[s] + length[s]));
    }

    /// @param place that of the first key among the keys of sequence s
    private static void walk(
            List<Range> ranges,
            int[] cuts,
            Prefixed sequences,
            int s,
            int start,
            int length,
            int place) {
        Sequences own = sequences.own();
        if (length == 0) {
            return;
        }
        int keys = sequences.prefixLength()[s] + own.keyLength()[s];
        for (int i = Arrays.binarySearch(cuts, start); cuts[i] < start + length; i++) {
            ranges.get(i)
                    .walks
                    .add(
                            new Walk(
                                    s,
                                    own.queryStart()[s],
                                    own.queryLength()[s],
                                    keys,
                                    place + cuts[i] - start));
        }
    }
}
