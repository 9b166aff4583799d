package dev.saccade.model.image;

/// A BMP file with a header of at least 40 bytes, or OS/2's of 12.
record BmpFile(ImageBytes file, int width, int height) implements ImageFile {
    private static final int OS2_HEADER_BYTES = 12;
    private static final int HEADER_BYTES = 40;

    static BmpFile open(ImageBytes file) {
        long header = file.u32LittleEndian(14);
        if (header == OS2_HEADER_BYTES) {
            return checked(
                    file,
                    file.u16LittleEndian(18),
                    file.u16LittleEndian(20),
                    file.u16LittleEndian(24));
        }
        if (header < HEADER_BYTES) {
            throw file.damaged(14, "a header of %d bytes".formatted(header));
        }
        // A negative height says that the rows go from top to bottom.
        long width = (int) file.u32LittleEndian(18);
        long height = Math.abs((long) (int) file.u32LittleEndian(22));
        if (width < 0 || height > Integer.MAX_VALUE) {
            throw file.damaged(18, "a size of %dx%d".formatted(width, height));
        }
        long compression = file.u32LittleEndian(30);
        boolean plain = compression == 0 || compression == 3;
        return checked(file, (int) width, (int) height, plain ? file.u16LittleEndian(28) : 0);
    }

    /// @param bits for each pixel; 0 where the rows are compressed
    private static BmpFile checked(ImageBytes file, int width, int height, int bits) {
        if ((double) width * bits / 8 * height > file.length()) {
            throw file.tooShort(width, height);
        }
        return new BmpFile(file, width, height);
    }

    @Override
    public Orientation orientation() {
        return Orientation.UPRIGHT;
    }

    @Override
    public RgbImage decode() {
        return Samples.rgb(Decoder.BMP.read(file, width, height), value -> value >> 8);
    }
}
