package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.attention.Attention.Sequences;
import java.util.Arrays;

/// The tiles that a kernel's blocks work on, in device memory: for each {queryStart, queryLength,
/// keyStart, keyLength, first row or key of the tile}, those with the most work first, so that what
/// a GPU does last is short.
///
/// @param key what the list was made for
/// @param count how many tiles
/// @param buffer the list
record TileList(Key key, int count, DeviceBuffer buffer) {
    private static final int INTS = 5;

    /// What tiles are cut from, and how.
    enum Side {
        /// Packed rows: queries and each query's heads of a group.
        ROWS,

        /// Rows from the last one on, so that it is the first tile that may hold fewer, and begin
        /// before its sequence: when causal, the tile with the least work.
        LAST_ROWS,

        KEYS
    }

    /// All that decides a list. Sequences are equal when they have the same arrays: those never
    /// change once a call has seen them.
    ///
    /// @param tile rows or keys of a tile
    record Key(Sequences sequences, Side side, int tile, int group, boolean causal) {}

    static TileList upload(CudaDevice device, Key key) {
        int[] tiles = tiles(key);
        DeviceBuffer buffer = RecentLists.upload(device, tiles);
        return new TileList(key, tiles.length / INTS, buffer);
    }

    long address() {
        return buffer.address();
    }

    /// The list's numbers, one tile after the other.
    static int[] tiles(Key key) {
        Sequences sequences = key.sequences;
        int count = 0;
        for (int s = 0; s < sequences.count(); s++) {
            count = Math.addExact(count, Math.ceilDiv(extent(key, s), key.tile));
        }
        int[] tiles = new int[Math.multiplyExact(count, INTS)];
        // The work counts down in the upper half of a number, the place in the lower.
        long[] order = new long[count];
        int next = 0;
        for (int s = 0; s < sequences.count(); s++) {
            int extent = extent(key, s);
            int rest = key.side == Side.LAST_ROWS ? Math.floorMod(-extent, key.tile) : 0;
            for (int first = -rest; first < extent; first += key.tile) {
                int at = next * INTS;
                tiles[at] = sequences.queryStart()[s];
                tiles[at + 1] = sequences.queryLength()[s];
                tiles[at + 2] = sequences.keyStart()[s];
                tiles[at + 3] = sequences.keyLength()[s];
                tiles[at + 4] = first;
                order[next] = ((long) -work(key, s, first, extent) << 32) | next;
                next++;
            }
        }
        Arrays.sort(order);
        int[] sorted = new int[tiles.length];
        for (int i = 0; i < count; i++) {
            System.arraycopy(tiles, (int) order[i] * INTS, sorted, i * INTS, INTS);
        }
        return sorted;
    }

    private static int extent(Key key, int s) {
        return key.side == Side.KEYS
                ? key.sequences.keyLength()[s]
                : Math.multiplyExact(key.sequences.queryLength()[s], key.group);
    }

    /// Keys that a tile of rows walks over, or rows that a tile of keys does.
    private static int work(Key key, int s, int first, int extent) {
        int queries = key.sequences.queryLength()[s];
        int keys = key.sequences.keyLength()[s];
        if (key.side == Side.KEYS) {
            int unseen = key.causal ? Math.max(0, first - (keys - queries)) : 0;
            return (queries - unseen) * key.group;
        }
        int lastQuery = (Math.min(first + key.tile, extent) - 1) / key.group;
        return key.causal ? keys - queries + lastQuery + 1 : keys;
    }
}
