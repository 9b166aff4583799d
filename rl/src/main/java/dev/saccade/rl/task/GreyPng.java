package dev.saccade.rl.task;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.zip.Adler32;
import java.util.zip.CRC32;

/// Writes small grey pictures as PNG, without compression: the bytes are then the same whatever
/// zlib the JDK uses, a picture of 56x56 takes one block of a disk either way, and thousands of
/// pictures are not held up by setting up a compressor for each.
final class GreyPng {
    private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    private static final int BIT_DEPTH = 8;
    private static final int COLOUR_TYPE_GREY = 0;
    private static final int FILTER_NONE = 0;
    private static final int ZLIB_HEADER = 0x7801;
    private static final int LONGEST_STORED_BLOCK = 0xffff;

    private GreyPng() {}

    /// @param pixels [height, width]
    static byte[] encode(int width, int height, byte[] pixels) {
        try {
            byte[] rows = new byte[height * (1 + width)];
            for (int y = 0; y < height; y++) {
                rows[y * (1 + width)] = FILTER_NONE;
                System.arraycopy(pixels, y * width, rows, y * (1 + width) + 1, width);
            }
            ByteArrayOutputStream header = new ByteArrayOutputStream();
            DataOutputStream fields = new DataOutputStream(header);
            fields.writeInt(width);
            fields.writeInt(height);
            fields.write(new byte[] {BIT_DEPTH, COLOUR_TYPE_GREY, 0, 0, 0});

            ByteArrayOutputStream file = new ByteArrayOutputStream(rows.length + 128);
            file.writeBytes(SIGNATURE);
            chunk(file, "IHDR", header.toByteArray());
            chunk(file, "IDAT", stored(rows));
            chunk(file, "IEND", new byte[0]);
            return file.toByteArray();
        } catch (IOException e) {
            throw new UncheckedIOException("memory can be written", e);
        }
    }

    /// A zlib stream of blocks that are only stored.
    private static byte[] stored(byte[] data) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(data.length + 64);
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeShort(ZLIB_HEADER);
        for (int begin = 0; begin < data.length; begin += LONGEST_STORED_BLOCK) {
            int length = Math.min(LONGEST_STORED_BLOCK, data.length - begin);
            boolean last = begin + length == data.length;
            out.writeByte(last ? 1 : 0);
            out.writeShort(Short.reverseBytes((short) length));
            out.writeShort(Short.reverseBytes((short) ~length));
            out.write(data, begin, length);
        }
        Adler32 checksum = new Adler32();
        checksum.update(data);
        out.writeInt((int) checksum.getValue());
        return bytes.toByteArray();
    }

    private static void chunk(ByteArrayOutputStream file, String type, byte[] data)
            throws IOException {
        DataOutputStream out = new DataOutputStream(file);
        byte[] name = type.getBytes(StandardCharsets.US_ASCII);
        CRC32 checksum = new CRC32();
        checksum.update(name);
        checksum.update(data);
        out.writeInt(data.length);
        out.write(name);
        out.write(data);
        out.writeInt((int) checksum.getValue());
    }
}
