package dev.saccade.model.tokenizer;

import org.jspecify.annotations.Nullable;

/// The ids of pieces seen lately, found without making a string of the piece. A new piece takes the
/// place of the one that shares its slot.
///
/// Threads read and write it without waiting for each other: an entry is immutable, so whichever is
/// read is right, and one that is lost is merged again.
final class PieceCache {
    /// Longer pieces are rare, and seldom the same.
    static final int LONGEST = 48;

    private static final int SLOTS = 1 << 16;

    /// @param piece its text
    /// @param ids never changed
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Entry(String piece, int[] ids) {}

    private final @Nullable Entry[] entries = new @Nullable Entry[SLOTS];

    /// The slot of `text[begin, end)`.
    static int slot(String text, int begin, int end) {
        int hash = 0;
        for (int i = begin; i < end; i++) {
            hash = hash * 31 + text.charAt(i);
        }
        hash *= 0x9E3779B1;
        return hash >>> 16;
    }

    /// The ids of `text[begin, end)` if they are in its slot; the caller may not change them.
    int @Nullable [] get(int slot, String text, int begin, int end) {
        Entry entry = entries[slot];
        return entry != null
                        && entry.piece.length() == end - begin
                        && text.startsWith(entry.piece, begin)
                ? entry.ids
                : null;
    }

    void put(int slot, String piece, int[] ids) {
        entries[slot] = new Entry(piece, ids);
    }
}
