package dev.saccade.model.tokenizer;

import java.util.concurrent.atomic.AtomicLongArray;

/// The ids of pieces that are one token and at most eight ASCII characters, which are most pieces
/// of English text. A piece is a number of 56 bits, 7 for each character; multiplied by an odd
/// number it is another one, of which the upper 16 bits are the slot and the other 40 stand in the
/// slot, above the 24 bits of the id. So a look-up reads one word of memory and is exact.
///
/// Threads share it without waiting: a slot is read and written as a whole.
final class ShortPieceCache {
    private static final int LONGEST = 8;
    private static final int CHARACTER_BITS = 7;
    private static final int KEY_BITS = LONGEST * CHARACTER_BITS;
    private static final int SLOT_BITS = 16;
    private static final int ID_BITS = 24;
    private static final int NO_ID = (1 << ID_BITS) - 1;
    private static final long ODD = 0x9E3779B97F4A7C15L;

    /// A slot at first: all bits set, so its id is [#NO_ID].
    private static final long EMPTY = -1;

    private final AtomicLongArray slots = new AtomicLongArray(1 << SLOT_BITS);

    ShortPieceCache() {
        for (int i = 0; i < slots.length(); i++) {
            slots.setPlain(i, EMPTY);
        }
    }

    /// The number of `text[begin, end)`, or -1 where it is too long or has other characters. A
    /// piece is not empty, and U+0000 does not count, so that no two pieces have one number.
    static long key(String text, int begin, int end) {
        if (end - begin > LONGEST) {
            return -1;
        }
        long key = 0;
        for (int i = begin; i < end; i++) {
            int character = text.charAt(i);
            if (character == 0 || character >= 1 << CHARACTER_BITS) {
                return -1;
            }
            key = key << CHARACTER_BITS | character;
        }
        return key;
    }

    /// The id of a piece, or -1.
    int get(long key) {
        long mixed = key * ODD;
        long found = slots.getOpaque(slot(mixed));
        int id = (int) found & NO_ID;
        return found >>> ID_BITS == tag(mixed) && id != NO_ID ? id : -1;
    }

    void put(long key, int id) {
        if (id < NO_ID) {
            long mixed = key * ODD;
            slots.setOpaque(slot(mixed), tag(mixed) << ID_BITS | id);
        }
    }

    private static int slot(long mixed) {
        return (int) (mixed >>> (KEY_BITS - SLOT_BITS)) & ((1 << SLOT_BITS) - 1);
    }

    private static long tag(long mixed) {
        return mixed & ((1L << (KEY_BITS - SLOT_BITS)) - 1);
    }
}
