package dev.saccade.model.image;

/// A picture of 8 bits a colour.
///
/// @param width in pixels
/// @param height in pixels
/// @param values [height, width, 3], row-major, red, green, blue, each 0..255
@SuppressWarnings("ArrayRecordComponent") // read as it is, never compared
public record RgbImage(int width, int height, byte[] values) {
    public RgbImage {
        if (width < 1 || height < 1 || values.length != (long) width * height * 3) {
            throw new IllegalArgumentException(
                    "%d bytes for a picture of %dx%d".formatted(values.length, width, height));
        }
    }

    /// One pixel as `0xRRGGBB`.
    public int rgb(int x, int y) {
        int offset = 3 * (y * width + x);
        return (values[offset] & 0xff) << 16
                | (values[offset + 1] & 0xff) << 8
                | (values[offset + 2] & 0xff);
    }
}
