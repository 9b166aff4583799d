package dev.saccade.model.image;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/// VP8's arithmetic decoder of bits with known probabilities (RFC 6386, section 7).
///
/// Behind the end of its bytes it reads zeros, as long as it is asked; [#isPastEnd()] tells.
final class BoolDecoder {
    private static final VarHandle INTS =
            MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);
    private static final int EVEN = 128;

    private final byte[] bytes;
    private final int end;
    private int at;

    /// What was loaded and is not used up: `spare` bits more than the eight that are compared.
    private long value;

    private int spare = -Byte.SIZE;
    private int range = 255;
    private boolean pastEnd;

    /// @param begin of its part of `bytes`
    /// @param end of its part of `bytes`
    BoolDecoder(byte[] bytes, int begin, int end) {
        this.bytes = bytes;
        this.at = begin;
        this.end = end;
    }

    /// The next bit.
    ///
    /// @param probability of 256 that it is not set
    boolean read(int probability) {
        if (spare < 0) {
            load();
        }
        int split = 1 + (((range - 1) * probability) >> 8);
        long least = (long) split << spare;
        boolean bit = value >= least;
        if (bit) {
            range -= split;
            value -= least;
        } else {
            range = split;
        }
        int shift = Integer.numberOfLeadingZeros(range) - 24;
        range <<= shift;
        spare -= shift;
        return bit;
    }

    private void load() {
        if (end - at >= Integer.BYTES) {
            value = value << Integer.SIZE | Integer.toUnsignedLong((int) INTS.get(bytes, at));
            spare += Integer.SIZE;
            at += Integer.BYTES;
            return;
        }
        value <<= Byte.SIZE;
        spare += Byte.SIZE;
        if (at < end) {
            value |= bytes[at++] & 0xff;
        } else {
            pastEnd = true;
        }
    }

    /// A bit of even probability.
    boolean flag() {
        return read(EVEN);
    }

    int bit(int probability) {
        return read(probability) ? 1 : 0;
    }

    /// A number of so many bits, the highest first.
    int number(int bits) {
        int result = 0;
        for (int i = 0; i < bits; i++) {
            result = result << 1 | bit(EVEN);
        }
        return result;
    }

    /// A number of so many bits, and a sign behind it.
    int signed(int bits) {
        int magnitude = number(bits);
        return flag() ? -magnitude : magnitude;
    }

    /// A number of so many bits and its sign where a flag says that it is there, otherwise 0.
    int optionalSigned(int bits) {
        return flag() ? signed(bits) : 0;
    }

    /// Whether more was asked for than there is.
    boolean isPastEnd() {
        return pastEnd;
    }
}
