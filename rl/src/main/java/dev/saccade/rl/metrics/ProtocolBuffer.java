package dev.saccade.rl.metrics;

import java.io.ByteArrayOutputStream;

/// A message in the Protocol Buffers wire format: fields of a number and a value.
final class ProtocolBuffer {
    private static final int VARINT = 0;
    private static final int FIXED_64 = 1;
    private static final int LENGTH_DELIMITED = 2;
    private static final int FIXED_32 = 5;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    /// An integer or an enumeration's number.
    ProtocolBuffer varint(int field, long value) {
        key(field, VARINT);
        writeVarint(value);
        return this;
    }

    /// A `double`.
    ProtocolBuffer float64(int field, double value) {
        key(field, FIXED_64);
        writeLittleEndian(Double.doubleToRawLongBits(value), Double.BYTES);
        return this;
    }

    /// A `float`.
    ProtocolBuffer float32(int field, float value) {
        key(field, FIXED_32);
        writeLittleEndian(Float.floatToRawIntBits(value), Float.BYTES);
        return this;
    }

    /// A text, bytes or a message.
    ProtocolBuffer bytes(int field, byte[] value) {
        key(field, LENGTH_DELIMITED);
        writeVarint(value.length);
        out.writeBytes(value);
        return this;
    }

    byte[] toBytes() {
        return out.toByteArray();
    }

    private void key(int field, int type) {
        writeVarint((long) field << 3 | type);
    }

    private void writeVarint(long value) {
        long rest = value;
        while ((rest & ~0x7fL) != 0) {
            out.write((int) ((rest & 0x7f) | 0x80));
            rest >>>= 7;
        }
        out.write((int) rest);
    }

    private void writeLittleEndian(long value, int bytes) {
        for (int i = 0; i < bytes; i++) {
            out.write((int) (value >>> (8 * i)));
        }
    }
}
