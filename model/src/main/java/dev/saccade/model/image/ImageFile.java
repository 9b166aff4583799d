package dev.saccade.model.image;

import org.jspecify.annotations.Nullable;

/// A picture's file, its header read and checked, its pixels not yet decoded.
sealed interface ImageFile permits PngFile, JpegFile, WebPFile, GifFile, BmpFile {
    /// The formats, for messages.
    String FORMATS = "PNG, JPEG, WebP, GIF or BMP";

    /// Reads the header of a file whose first bytes tell a known format; null for others.
    static @Nullable ImageFile open(ImageBytes file) {
        if (file.has(0, PngFile.SIGNATURE)) {
            return PngFile.open(file);
        }
        if (file.has(0, JpegFile.SIGNATURE)) {
            return JpegFile.open(file);
        }
        if (file.has(0, "RIFF") && file.has(8, "WEBP")) {
            return WebPFile.open(file);
        }
        if (file.has(0, "GIF87a") || file.has(0, "GIF89a")) {
            return GifFile.open(file);
        }
        if (file.has(0, "BM")) {
            return BmpFile.open(file);
        }
        return null;
    }

    /// In pixels, as stored.
    int width();

    /// In pixels, as stored.
    int height();

    /// How to turn what is stored.
    Orientation orientation();

    /// The pixels as stored.
    RgbImage decode();
}
