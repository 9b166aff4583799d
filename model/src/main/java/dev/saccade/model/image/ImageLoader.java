package dev.saccade.model.image;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/// Reads PNG, JPEG, WebP, GIF (the first frame) and BMP files as 8 bits a colour, as Pillow's
/// `convert("RGB")` does: grey becomes three equal colours, transparency is left out, a palette is
/// looked up, inks become light, colour profiles are not applied. A picture whose EXIF says how it
/// is to be turned is turned, as Pillow's `ImageOps.exif_transpose` does.
///
/// Pixels of PNG, JPEG, GIF and WebP files, lossy ones included, are those of Pillow bit for bit.
///
/// A file that is missing, empty, damaged, cut off, of no known format or too large is an
/// [InputException] that names it. Sizes are checked before anything is decoded, and so is whether
/// a file of that length can hold the picture at all.
public final class ImageLoader {
    /// A picture of more pixels is refused, where nothing else is said.
    public static final long MAX_PIXELS = Long.getLong("saccade.maxPixels", 100_000_000);

    /// Beyond this, a row or column of tiles would not fit into memory.
    private static final int MAX_SIDE = 1 << 17;

    /// A [RgbImage] is one array.
    private static final long MOST_PIXELS = Integer.MAX_VALUE / 3;

    /// The longest pixels there are: four samples of 16 bits.
    private static final int BYTES_PER_PIXEL = 8;

    private static final long BYTES_BESIDE_PIXELS = 64L << 20;

    private ImageLoader() {}

    /// Reads a picture of at most [#MAX_PIXELS].
    public static RgbImage read(Path file) {
        return read(file, file.toString());
    }

    /// As [#read(Path)].
    ///
    /// @param name what messages call the picture: the data row it belongs to, for instance
    public static RgbImage read(Path file, String name) {
        return read(file, name, MAX_PIXELS);
    }

    /// Reads a picture.
    ///
    /// @param name what messages call the picture
    /// @param maxPixels the largest product of width and height that is accepted
    public static RgbImage read(Path file, String name, long maxPixels) {
        byte[] bytes;
        try {
            long size = Files.size(file);
            if (size > Math.min(MOST_PIXELS, maxPixels) * BYTES_PER_PIXEL + BYTES_BESIDE_PIXELS) {
                throw new InputException(
                        name,
                        "has %d bytes, more than a picture of %d pixels needs"
                                .formatted(size, maxPixels),
                        "scale it down");
            }
            bytes = Files.readAllBytes(file);
        } catch (IOException e) {
            throw new InputException(
                    name,
                    Files.exists(file) ? "can't be read: " + e.getMessage() : "does not exist",
                    "check the path",
                    e);
        }
        return decode(bytes, name, maxPixels);
    }

    /// Reads a picture of at most [#MAX_PIXELS] from a file's bytes.
    ///
    /// @param name what messages call the picture
    public static RgbImage decode(byte[] bytes, String name) {
        return decode(bytes, name, MAX_PIXELS);
    }

    /// Reads a picture from a file's bytes.
    ///
    /// @param name what messages call the picture
    /// @param maxPixels the largest product of width and height that is accepted
    public static RgbImage decode(byte[] bytes, String name, long maxPixels) {
        if (bytes.length == 0) {
            throw new InputException(name, "is empty", "fetch or make the file again");
        }
        ImageFile file = ImageFile.open(new ImageBytes(bytes, name));
        if (file == null) {
            throw new InputException(
                    name, "is not a picture of a known format", "use " + ImageFile.FORMATS);
        }
        requireSize(file.width(), file.height(), name, maxPixels);
        return file.orientation().apply(file.decode());
    }

    private static void requireSize(int width, int height, String name, long maxPixels) {
        if (width < 1 || height < 1) {
            throw new InputException(
                    name,
                    "has a size of %dx%d".formatted(width, height),
                    "fetch or make the file again");
        }
        long pixels = (long) width * height;
        if (pixels > maxPixels) {
            throw new InputException(
                    name,
                    "has %dx%d pixels, more than %s"
                            .formatted(
                                    width,
                                    height,
                                    maxPixels % 1_000_000 == 0
                                            ? maxPixels / 1_000_000 + " million"
                                            : maxPixels),
                    "scale it down, or allow more with SACCADE_JVM=-Dsaccade.maxPixels=" + pixels);
        }
        if (width > MAX_SIDE || height > MAX_SIDE || pixels > MOST_PIXELS) {
            throw new InputException(
                    name,
                    "has %dx%d pixels, more than can be cut into tiles".formatted(width, height),
                    "scale it down or crop it");
        }
    }
}
