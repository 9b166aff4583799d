package dev.saccade.model.image;

import java.awt.image.BufferedImage;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.util.Arrays;

/// A GIF file, of which the first frame counts. Where that frame leaves a part of the screen free,
/// there is its transparent colour, or the first one of its palette.
///
/// @param width of the screen
/// @param height of the screen
/// @param frame where the first frame lies on it
/// @param transparent the index of its transparent colour, or -1
/// @param hasPalette whether the file has a palette for it; otherwise indices are shades of grey
record GifFile(
        ImageBytes file, int width, int height, Frame frame, int transparent, boolean hasPalette)
        implements ImageFile {
    /// A code has at most 12 bits and stands for at most as many pixels as there are codes.
    private static final long MOST_PIXELS_PER_BYTE = 4096;

    private static final int EXTENSION = 0x21;
    private static final int GRAPHIC_CONTROL = 0xf9;
    private static final int IMAGE = 0x2c;

    /// Pixels of the screen.
    record Frame(int left, int top, int width, int height) {}

    static GifFile open(ImageBytes file) {
        int flags = file.u8(10);
        boolean hasPalette = (flags & 0x80) != 0;
        int at = 13 + paletteBytes(flags);
        int transparent = -1;
        while (file.u8(at) == EXTENSION) {
            if (file.u8(at + 1) == GRAPHIC_CONTROL && file.u8(at + 2) >= 4) {
                transparent = (file.u8(at + 3) & 1) != 0 ? file.u8(at + 6) : -1;
            }
            at = endOfBlocks(file, at + 2);
        }
        if (file.u8(at) != IMAGE) {
            throw file.damaged(at, "expected a frame");
        }
        Frame frame =
                new Frame(
                        file.u16LittleEndian(at + 1),
                        file.u16LittleEndian(at + 3),
                        file.u16LittleEndian(at + 5),
                        file.u16LittleEndian(at + 7));
        int frameFlags = file.u8(at + 9);
        hasPalette |= (frameFlags & 0x80) != 0;
        int data = at + 10 + paletteBytes(frameFlags) + 1;
        int end = endOfBlocks(file, data);
        if ((long) frame.width * frame.height > (end - data) * MOST_PIXELS_PER_BYTE) {
            throw file.tooShort(frame.width, frame.height);
        }
        if (frame.width == 0 || frame.height == 0) {
            throw file.damaged(at + 5, "a frame of %dx%d".formatted(frame.width, frame.height));
        }
        return new GifFile(
                file,
                Math.max(file.u16LittleEndian(6), frame.left + frame.width),
                Math.max(file.u16LittleEndian(8), frame.top + frame.height),
                frame,
                transparent,
                hasPalette);
    }

    private static int paletteBytes(int flags) {
        return (flags & 0x80) != 0 ? 3 << ((flags & 7) + 1) : 0;
    }

    /// Data comes in blocks of a length and so many bytes; one of no bytes is the last.
    private static int endOfBlocks(ImageBytes file, int begin) {
        int at = begin;
        while (file.u8(at) != 0) {
            at += 1 + file.u8(at);
        }
        return at + 1;
    }

    @Override
    public Orientation orientation() {
        return Orientation.UPRIGHT;
    }

    @Override
    public RgbImage decode() {
        BufferedImage image = Decoder.GIF.read(file, frame.width, frame.height);
        if (!(image.getColorModel() instanceof IndexColorModel palette)) {
            throw new IllegalStateException("a GIF without a palette: " + image);
        }
        int[] colors = colors(palette);
        byte[] values = new byte[Math.multiplyExact(3, Math.multiplyExact(width, height))];
        if (frame.width < width || frame.height < height) {
            for (int offset = 0; offset < values.length; offset += 3) {
                put(values, offset, colors[Math.max(0, transparent)]);
            }
        }
        Raster raster = image.getRaster();
        int[] row = new int[frame.width];
        for (int y = 0; y < frame.height; y++) {
            raster.getSamples(0, y, frame.width, 1, 0, row);
            int offset = 3 * ((frame.top + y) * width + frame.left);
            for (int index : row) {
                put(values, offset, colors[index]);
                offset += 3;
            }
        }
        return new RgbImage(width, height, values);
    }

    private int[] colors(IndexColorModel palette) {
        int[] colors = new int[256];
        if (hasPalette) {
            palette.getRGBs(colors);
        } else {
            Arrays.setAll(colors, index -> index * 0x10101);
        }
        return colors;
    }

    private static void put(byte[] values, int offset, int rgb) {
        values[offset] = (byte) (rgb >> 16);
        values[offset + 1] = (byte) (rgb >> 8);
        values[offset + 2] = (byte) rgb;
    }
}
