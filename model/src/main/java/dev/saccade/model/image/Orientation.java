package dev.saccade.model.image;

/// How a picture is to be turned before it is looked at: the eight values of EXIF's tag
/// `Orientation`, in their order.
enum Orientation {
    UPRIGHT(false),
    MIRRORED(false),
    UPSIDE_DOWN(false),
    FLIPPED(false),
    TRANSPOSED(true),
    TURN_RIGHT(true),
    TRANSVERSED(true),
    TURN_LEFT(true);

    private static final int TAG = 0x0112;
    private static final int SHORT = 3;
    private static final int ENTRY_BYTES = 12;

    private final boolean sideways;

    Orientation(boolean sideways) {
        this.sideways = sideways;
    }

    /// The orientation in an EXIF block (a TIFF header and its first directory), [#UPRIGHT] where
    /// there is none or the block can't be read: it says nothing about the pixels then.
    static Orientation ofExif(byte[] tiff) {
        boolean little = tiff.length > 8 && tiff[0] == 'I' && tiff[1] == 'I';
        boolean big = tiff.length > 8 && tiff[0] == 'M' && tiff[1] == 'M';
        if (!little && !big) {
            return UPRIGHT;
        }
        long directory = number(tiff, 4, 4, little);
        if (directory + 2 > tiff.length) {
            return UPRIGHT;
        }
        long entries = number(tiff, (int) directory, 2, little);
        for (long i = 0; i < entries; i++) {
            long at = directory + 2 + i * ENTRY_BYTES;
            if (at + ENTRY_BYTES > tiff.length) {
                return UPRIGHT;
            }
            if (number(tiff, (int) at, 2, little) == TAG) {
                long value = number(tiff, (int) at + 8, 2, little);
                boolean known =
                        number(tiff, (int) at + 2, 2, little) == SHORT
                                && value >= 1
                                && value <= values().length;
                return known ? values()[(int) value - 1] : UPRIGHT;
            }
        }
        return UPRIGHT;
    }

    private static long number(byte[] bytes, int at, int count, boolean little) {
        long number = 0;
        for (int i = 0; i < count; i++) {
            number = number << 8 | (bytes[little ? at + count - 1 - i : at + i] & 0xff);
        }
        return number;
    }

    /// Turns a picture.
    RgbImage apply(RgbImage image) {
        if (this == UPRIGHT) {
            return image;
        }
        int width = sideways ? image.height() : image.width();
        int height = sideways ? image.width() : image.height();
        int lastX = image.width() - 1;
        int lastY = image.height() - 1;
        byte[] in = image.values();
        byte[] out = new byte[in.length];
        int target = 0;
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int sourceX =
                        switch (this) {
                            case UPRIGHT, FLIPPED -> x;
                            case MIRRORED, UPSIDE_DOWN -> lastX - x;
                            case TRANSPOSED, TURN_RIGHT -> y;
                            case TRANSVERSED, TURN_LEFT -> lastX - y;
                        };
                int sourceY =
                        switch (this) {
                            case UPRIGHT, MIRRORED -> y;
                            case UPSIDE_DOWN, FLIPPED -> lastY - y;
                            case TRANSPOSED, TURN_LEFT -> x;
                            case TURN_RIGHT, TRANSVERSED -> lastY - x;
                        };
                int source = 3 * (sourceY * image.width() + sourceX);
                out[target++] = in[source];
                out[target++] = in[source + 1];
                out[target++] = in[source + 2];
            }
        }
        return new RgbImage(width, height, out);
    }
}
