package dev.saccade.model.tokenizer;

import java.util.Arrays;

/// The merge table of a BPE vocabulary and the merging itself: again and again the adjacent pair
/// with the lowest rank becomes one token, the leftmost first, until no pair of the table is left.
final class BytePairs {
    /// Up to this many tokens, looking at every pair for the lowest rank beats keeping a heap.
    private static final int SCAN_LIMIT = 48;

    private static final long NO_MERGE = Long.MAX_VALUE;
    private static final long EMPTY = -1;

    private final long[] keys;
    private final long[] values;
    private final int mask;

    /// A table with room for `merges` pairs.
    BytePairs(int merges) {
        int capacity = Integer.highestOneBit(Math.max(16, merges * 2)) * 2;
        keys = new long[capacity];
        values = new long[capacity];
        Arrays.fill(keys, EMPTY);
        mask = capacity - 1;
    }

    /// Adds a merge; of two merges of one pair the later one counts.
    void put(int left, int right, int rank, int merged) {
        long key = key(left, right);
        int slot = slot(key);
        while (keys[slot] != EMPTY && keys[slot] != key) {
            slot = (slot + 1) & mask;
        }
        keys[slot] = key;
        values[slot] = ((long) rank << 32) | merged;
    }

    /// Merges in place: of `ids[0..count)` remain as many as returned.
    int merge(int[] ids, int count) {
        if (count < 2) {
            return count;
        }
        return count <= SCAN_LIMIT ? mergeByScan(ids, count) : mergeByHeap(ids, count);
    }

    /// Rank in the upper half, merged id in the lower; [#NO_MERGE] for a pair not in the table.
    private long lookup(int left, int right) {
        long key = key(left, right);
        int slot = slot(key);
        while (true) {
            long found = keys[slot];
            if (found == key) {
                return values[slot];
            }
            if (found == EMPTY) {
                return NO_MERGE;
            }
            slot = (slot + 1) & mask;
        }
    }

    int mergeByScan(int[] ids, int count) {
        long[] merges = new long[count];
        for (int i = 0; i + 1 < count; i++) {
            merges[i] = lookup(ids[i], ids[i + 1]);
        }
        int length = count;
        while (length > 1) {
            int best = 0;
            for (int i = 1; i < length - 1; i++) {
                if (merges[i] < merges[best]) {
                    best = i;
                }
            }
            if (merges[best] == NO_MERGE) {
                break;
            }
            ids[best] = (int) merges[best];
            System.arraycopy(ids, best + 2, ids, best + 1, length - best - 2);
            System.arraycopy(merges, best + 2, merges, best + 1, length - best - 2);
            length--;
            if (best > 0) {
                merges[best - 1] = lookup(ids[best - 1], ids[best]);
            }
            if (best + 1 < length) {
                merges[best] = lookup(ids[best], ids[best + 1]);
            }
        }
        return length;
    }

    int mergeByHeap(int[] ids, int count) {
        int[] next = new int[count];
        int[] previous = new int[count];
        // Each merge adds at most two candidates, and there are at most count - 1 merges.
        Candidates candidates = new Candidates(3 * count);
        for (int i = 0; i < count; i++) {
            next[i] = i + 1 < count ? i + 1 : -1;
            previous[i] = i - 1;
            if (i + 1 < count) {
                candidates.add(lookup(ids[i], ids[i + 1]), i);
            }
        }
        while (!candidates.isEmpty()) {
            long candidate = candidates.poll();
            int position = (int) candidate;
            int right = ids[position] < 0 ? -1 : next[position];
            if (right < 0) {
                continue;
            }
            long merge = lookup(ids[position], ids[right]);
            if (merge == NO_MERGE || (merge >>> 32) != (candidate >>> 32)) {
                continue; // one of the two was merged with another neighbour meanwhile
            }
            ids[position] = (int) merge;
            ids[right] = -1;
            next[position] = next[right];
            if (next[right] >= 0) {
                previous[next[right]] = position;
                candidates.add(lookup(ids[position], ids[next[position]]), position);
            }
            if (previous[position] >= 0) {
                candidates.add(lookup(ids[previous[position]], ids[position]), previous[position]);
            }
        }
        int length = 0;
        for (int position = 0; position >= 0; position = next[position]) {
            ids[length++] = ids[position];
        }
        return length;
    }

    private static long key(int left, int right) {
        return ((long) left << 32) | right;
    }

    private int slot(long key) {
        long hash = key * 0x9E3779B97F4A7C15L;
        return (int) (hash >>> 32) & mask;
    }

    /// A binary heap of (rank, position): the lowest rank first, of equal ranks the leftmost.
    private static final class Candidates {
        private final long[] heap;
        private int size;

        Candidates(int capacity) {
            heap = new long[capacity];
        }

        boolean isEmpty() {
            return size == 0;
        }

        void add(long merge, int position) {
            if (merge == NO_MERGE) {
                return;
            }
            long entry = (merge & 0xFFFFFFFF00000000L) | position;
            int child = size++;
            while (child > 0 && heap[(child - 1) >> 1] > entry) {
                heap[child] = heap[(child - 1) >> 1];
                child = (child - 1) >> 1;
            }
            heap[child] = entry;
        }

        long poll() {
            long top = heap[0];
            long entry = heap[--size];
            int parent = 0;
            while (true) {
                int child = 2 * parent + 1;
                if (child >= size) {
                    break;
                }
                if (child + 1 < size && heap[child + 1] < heap[child]) {
                    child++;
                }
                if (heap[child] >= entry) {
                    break;
                }
                heap[parent] = heap[child];
                parent = child;
            }
            heap[parent] = entry;
            return top;
        }
    }
}
