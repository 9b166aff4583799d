package dev.saccade.rl.metrics;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/// TensorFlow's record format (`tensorflow/core/lib/io/record_writer`): the data's length in 8
/// bytes, a checksum of these, the data, a checksum of the data; all little-endian.
final class TensorFlowRecord {
    private static final int MASK_DELTA = 0xa282ead8;

    private TensorFlowRecord() {}

    static byte[] encode(byte[] data) {
        ByteBuffer record =
                ByteBuffer.allocate(Long.BYTES + Integer.BYTES + data.length + Integer.BYTES)
                        .order(ByteOrder.LITTLE_ENDIAN);
        record.putLong(data.length);
        record.putInt(maskedChecksum(record.array(), Long.BYTES));
        record.put(data);
        record.putInt(maskedChecksum(data, data.length));
        return record.array();
    }

    /// CRC-32C, rotated and shifted, so that the checksum of data that holds checksums is sound.
    private static int maskedChecksum(byte[] bytes, int length) {
        CRC32C checksum = new CRC32C();
        checksum.update(bytes, 0, length);
        return Integer.rotateRight((int) checksum.getValue(), 15) + MASK_DELTA;
    }
}
