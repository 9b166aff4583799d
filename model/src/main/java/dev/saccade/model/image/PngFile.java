package dev.saccade.model.image;

import java.util.zip.CRC32;

/// A PNG file: every chunk up to the end lies in the file, and those that matter for the pixels
/// have the checksum they say.
///
/// @param wideGrey grey of 16 bits
record PngFile(ImageBytes file, int width, int height, Orientation orientation, boolean wideGrey)
        implements ImageFile {
    static final String SIGNATURE = "\u0089PNG\r\n\u001a\n";

    /// Deflate makes at most so many bytes of one.
    private static final long MOST_INFLATION = 1032;

    private static final int HEADER_BYTES = 13;

    static PngFile open(ImageBytes file) {
        int at = SIGNATURE.length();
        if (!file.has(at + 4, "IHDR") || file.u32BigEndian(at) != HEADER_BYTES) {
            file.require(at, 8);
            throw file.damaged(at, "a PNG begins with the chunk IHDR of 13 bytes");
        }
        long width = file.u32BigEndian(at + 8);
        long height = file.u32BigEndian(at + 12);
        if (width > Integer.MAX_VALUE || height > Integer.MAX_VALUE) {
            throw file.damaged(at + 8, "a size of %dx%d".formatted(width, height));
        }
        int bits = bitsPerPixel(file, file.u8(at + 16), file.u8(at + 17));
        Orientation orientation = Orientation.UPRIGHT;
        long data = 0;
        boolean ended = false;
        while (!ended) {
            long length = file.u32BigEndian(at);
            file.require(at + 4, 4 + length + 4);
            int begin = at + 8;
            int end = begin + (int) length;
            boolean pixels = file.has(at + 4, "IDAT");
            if (pixels || file.has(at + 4, "IHDR") || file.has(at + 4, "PLTE")) {
                CRC32 checksum = new CRC32();
                checksum.update(file.bytes(), at + 4, end - (at + 4));
                if (checksum.getValue() != file.u32BigEndian(end)) {
                    throw file.damaged(at + 4, "a chunk's checksum is not that of its bytes");
                }
            }
            if (pixels) {
                data += length;
            } else if (file.has(at + 4, "eXIf")) {
                orientation = Orientation.ofExif(file.slice(begin, end));
            }
            ended = file.has(at + 4, "IEND");
            at = end + 4;
        }
        // Each row begins with a byte for its filter; an interlaced picture has more rows.
        if (((width * bits + 7) / 8 + 1) * height > (data + 1) * MOST_INFLATION) {
            throw file.tooShort((int) width, (int) height);
        }
        boolean wideGrey = file.u8(24) == 16 && file.u8(25) == 0;
        return new PngFile(file, (int) width, (int) height, orientation, wideGrey);
    }

    private static int bitsPerPixel(ImageBytes file, int depth, int colorType) {
        int samples =
                switch (colorType) {
                    case 0, 3 -> 1;
                    case 2 -> 3;
                    case 4 -> 2;
                    case 6 -> 4;
                    default -> throw file.damaged(25, "the colour type " + colorType);
                };
        if (Integer.bitCount(depth) != 1 || depth > 16) {
            throw file.damaged(24, "a bit depth of " + depth);
        }
        return samples * depth;
    }

    /// Of 16 bits the upper 8 count, except in grey without transparency: there Pillow keeps the
    /// value and cuts it off at 255.
    @Override
    public RgbImage decode() {
        return Samples.rgb(
                Decoder.PNG.read(file, width, height),
                wideGrey ? value -> Math.min(value, 255) : value -> value >> 8);
    }
}
