package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.attention.PrefixedTiles.Range;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// What the kernels of `attention/hopper_backward_ordered.cu` work on, in device memory: blocks of
/// keys of one key-value head, and the sequences whose queries see them.
///
/// A sequence's dq is added up block after block, those of its prefix first: each of its blocks has
/// a turn. A block of the GPU takes the items as they are listed and may wait for earlier ones
/// alone, so some can always go on. Listed one head after the other, blocks that run at the same
/// time are those of few heads and read the same queries, but each begins just after the one for
/// which it waits; listed block by block, nobody waits and nobody shares. So the blocks of a few
/// heads take turns: as many that a block begins about one tile later than the one before it. Keys
/// of prefixes come before all others: queries of many sequences go past them, and when own keys'
/// turns come, those are over.
///
/// @param key what the lists were made for
/// @param numbers the lists
/// @param buffer the lists, one behind the other
record KeyBlocks(Key key, Numbers numbers, DeviceBuffer buffer) {
    /// Keys of a block. It decides bits of dq: the chain over a block's keys is added to the sum.
    static final int KEYS = 128;

    /// Queries of a tile.
    static final int TILE = 64;

    private static final int ITEM_INTS = 5;
    private static final int TILE_INTS = 3;

    /// Tiles after which a block begins that waits for one that began with tile 0: a bit more than
    /// one, as adding to memory takes its time, too.
    private static final double LAG = 1.3;

    /// All that decides the lists; see [TileList.Key]. Prefixes are compared by what they are, as
    /// [#plain] makes them anew for each call.
    ///
    /// @param multiprocessors of the GPU: they decide the order of the items, no result
    record Key(Prefixed sequences, int heads, int kvHeads, boolean causal, int multiprocessors) {

        @Override
        public boolean equals(@Nullable Object other) {
            return other instanceof Key key
                    && key.heads == heads
                    && key.kvHeads == kvHeads
                    && key.causal == causal
                    && key.multiprocessors == multiprocessors
                    && key.sequences.own().equals(sequences.own())
                    && Arrays.equals(key.sequences.prefixStart(), sequences.prefixStart())
                    && Arrays.equals(key.sequences.prefixLength(), sequences.prefixLength());
        }

        @Override
        public int hashCode() {
            return sequences.own().hashCode();
        }
    }

    /// The lists.
    ///
    /// @param items blocks of keys, in the order in which they are taken: for each {first row,
    ///   keys, key-value head, its first range, ranges}
    /// @param ranges the sequences that see a block's keys: for each {queryStart, queryLength,
    ///   number of its first tile, how many of the keys the first query sees less one, the block's
    ///   turn}
    /// @param tiles of queries, by which dq is rounded: for each {its number, -1 where no key is
    ///   seen, first row, rows}
    /// @param keyRows how many rows of k and v are keys
    record Numbers(int[] items, int[] ranges, int[] tiles, int keyRows) {

        int itemCount() {
            return items.length / ITEM_INTS;
        }

        int tileCount() {
            return tiles.length / TILE_INTS;
        }
    }

    static KeyBlocks upload(CudaDevice device, Key key) {
        Numbers numbers = numbers(key);
        DeviceBuffer buffer =
                RecentLists.upload(device, numbers.items, numbers.ranges, numbers.tiles);
        return new KeyBlocks(key, numbers, buffer);
    }

    long items() {
        return buffer.address();
    }

    long ranges() {
        return items() + 4L * numbers.items.length;
    }

    long tiles() {
        return ranges() + 4L * numbers.ranges.length;
    }

    static Numbers numbers(Key key) {
        return new Builder(key).build();
    }

    /// A block of keys for every key-value head: the sequences that see it, and the tiles that go
    /// past it.
    private record Block(int row, int keys, int firstRange, int ranges, int tiles) {}

    private static final class Builder {
        private final Key key;
        private final Sequences own;
        private final int[] firstTile;
        private final int[] turns;
        private final IntStream.Builder ranges = IntStream.builder();
        private int rangeCount;

        Builder(Key key) {
            this.key = key;
            this.own = key.sequences.own();
            firstTile = new int[own.count()];
            turns = new int[own.count()];
        }

        Numbers build() {
            int tiles = 0;
            for (int s = 0; s < own.count(); s++) {
                firstTile[s] = tiles;
                tiles = Math.addExact(tiles, Math.ceilDiv(own.queryLength()[s], TILE));
            }
            List<Range> all = PrefixedTiles.ranges(key.sequences);
            int keyRows = all.stream().mapToInt(Range::length).sum();
            List<Chain> chains = new ArrayList<>();
            families(all).forEach(family -> addChains(family, chains));
            int[] items = inOrder(chains);
            return new Numbers(items, ranges.build().toArray(), tiles(), keyRows);
        }

        /// Ranges without a sequence in common with those of other families, in order of memory.
        private List<List<Range>> families(List<Range> all) {
            int[] family = IntStream.range(0, own.count()).toArray();
            for (Range range : all) {
                int first = root(family, range.walks().getFirst().sequence());
                range.walks().forEach(walk -> family[root(family, walk.sequence())] = first);
            }
            List<List<Range>> families =
                    Stream.generate(() -> (List<Range>) new ArrayList<Range>())
                            .limit(own.count())
                            .toList();
            for (Range range : all) {
                families.get(root(family, range.walks().getFirst().sequence())).add(range);
            }
            return families;
        }

        private static int root(int[] family, int s) {
            int root = s;
            while (family[root] != root) {
                root = family[root];
            }
            return root;
        }

        /// For each key-value head of a family, keys of prefixes and keys of one sequence alone.
        private void addChains(List<Range> family, List<Chain> chains) {
            List<Block> shared = new ArrayList<>();
            List<Block> alone = new ArrayList<>();
            family.stream().filter(this::isPrefix).forEach(range -> cut(range, shared));
            family.stream().filter(range -> !isPrefix(range)).forEach(range -> cut(range, alone));
            int most = alone.stream().mapToInt(Block::tiles).max().orElse(0);
            int mostShared = Math.max(most, shared.stream().mapToInt(Block::tiles).max().orElse(0));
            for (int head = 0; head < key.kvHeads; head++) {
                chains.add(new Chain(shared, true, head, mostShared));
                chains.add(new Chain(alone, false, head, most));
            }
        }

        private boolean isPrefix(Range range) {
            return !range.walks().stream().allMatch(this::isOwn);
        }

        private void cut(Range range, List<Block> blocks) {
            for (int first = 0; first < range.length(); first += KEYS) {
                int before = rangeCount;
                int tiles = 0;
                // All blocks of a prefix go past the same tiles of those that have it, but past
                // ever fewer of its owner's. Those come last: no block waits with the others for
                // one that has more.
                for (boolean own : new boolean[] {false, true}) {
                    for (PrefixedTiles.Walk walk : range.walks()) {
                        if (isOwn(walk) == own) {
                            tiles += addRange(walk, first);
                        }
                    }
                }
                blocks.add(
                        new Block(
                                range.start() + first,
                                Math.min(KEYS, range.length() - first),
                                before,
                                rangeCount - before,
                                tiles));
            }
        }

        /// Lists a sequence for the block of keys from `first` on of a range, if any of its queries
        /// sees them; the tiles that do.
        private int addRange(PrefixedTiles.Walk walk, int first) {
            int offset =
                    key.causal
                            ? walk.keys() - walk.queryLength() - walk.place() - first
                            : Integer.MAX_VALUE / 2;
            int tiles = Math.ceilDiv(walk.queryLength(), TILE) - Math.max(0, -offset) / TILE;
            if (walk.queryLength() == 0 || tiles <= 0) {
                return 0;
            }
            int s = walk.sequence();
            ranges.add(walk.queryStart()).add(walk.queryLength()).add(firstTile[s]);
            ranges.add(offset).add(turns[s]++);
            rangeCount++;
            return tiles;
        }

        private boolean isOwn(PrefixedTiles.Walk walk) {
            return walk.place() >= key.sequences.prefixLength()[walk.sequence()];
        }

        /// Blocks of one head that follow each other.
        ///
        /// @param most tiles that go past one of them, or one of those that wait for them
        private record Chain(List<Block> blocks, boolean isShared, int head, int most) {}

        private int[] inOrder(List<Chain> chains) {
            int members = key.heads / key.kvHeads;
            chains.removeIf(chain -> chain.blocks.isEmpty());
            chains.sort(Comparator.comparingInt(Chain::most).reversed());
            IntStream.Builder items = IntStream.builder();
            for (int from = 0; from < chains.size(); ) {
                List<Block> first = chains.get(from).blocks;
                double tiles = members * first.stream().mapToInt(Block::tiles).average().orElse(0);
                int together = (int) Math.ceil(key.multiprocessors * LAG / Math.max(1, tiles));
                int to = from + 1;
                // Own keys never beside those of their prefix, which come before them.
                while (to < Math.min(chains.size(), from + together)
                        && chains.get(to).isShared == chains.get(from).isShared) {
                    to++;
                }
                List<Chain> group = chains.subList(from, to);
                int most = group.stream().mapToInt(chain -> chain.blocks.size()).max().orElse(0);
                for (int i = 0; i < most; i++) {
                    for (Chain chain : group) {
                        if (i < chain.blocks.size()) {
                            Block block = chain.blocks.get(i);
                            items.add(block.row).add(block.keys).add(chain.head);
                            items.add(block.firstRange).add(block.ranges);
                        }
                    }
                }
                from += group.size();
            }
            return items.build().toArray();
        }

        private int[] tiles() {
            IntStream.Builder tiles = IntStream.builder();
            for (int s = 0; s < own.count(); s++) {
                int length = own.queryLength()[s];
                for (int first = 0; first < length; first += TILE) {
                    tiles.add(turns[s] == 0 ? -1 : firstTile[s] + first / TILE);
                    tiles.add(own.queryStart()[s] + first).add(Math.min(TILE, length - first));
                }
            }
            return tiles.build().toArray();
        }
    }

    /// Whether a sequence's dq is added up of the same blocks whatever the other sequences are: no
    /// own keys and no prefix end within those of others.
    static boolean areWhole(Prefixed sequences) {
        Sequences own = sequences.own();
        int[] cuts = PrefixedTiles.cuts(sequences);
        for (int s = 0; s < own.count(); s++) {
            if (isCut(cuts, own.keyStart()[s], own.keyLength()[s])
                    || isCut(cuts, sequences.prefixStart()[s], sequences.prefixLength()[s])) {
                return false;
            }
        }
        return true;
    }

    private static boolean isCut(int[] cuts, int start, int length) {
        return length > 0 && cuts[Arrays.binarySearch(cuts, start) + 1] != start + length;
    }

    /// Sequences without prefixes.
    static Prefixed plain(Sequences sequences) {
        int[] none = new int[sequences.count()];
        return new Prefixed(sequences, none, none);
    }
}
