package dev.saccade.model.image;

import dev.saccade.engine.InputException;
import java.awt.color.ColorSpace;
import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.ComponentColorModel;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;
import org.jspecify.annotations.Nullable;

/// Reads PNG, JPEG, GIF (the first frame) and BMP files as 8 bits a colour, as Pillow's
/// `convert("RGB")` does: grey becomes three equal colours, transparency is left out, a palette is
/// looked up, colour profiles and an EXIF orientation are not applied.
public final class ImageLoader {
    /// A larger picture is refused before it is decoded.
    public static final long MAX_PIXELS = 100_000_000;

    private ImageLoader() {}

    /// Reads a picture. A file that is missing, empty, damaged, cut off or too large is an
    /// [InputException] that names it.
    public static RgbImage read(Path file) {
        return read(file, file.toString());
    }

    /// As [#read(Path)].
    ///
    /// @param name what messages call the picture: the data row it belongs to, for instance
    public static RgbImage read(Path file, String name) {
        byte[] bytes;
        try {
            bytes = Files.readAllBytes(file);
        } catch (IOException e) {
            throw new InputException(
                    name,
                    Files.exists(file) ? "can't be read: " + e.getMessage() : "does not exist",
                    "check the path",
                    e);
        }
        return decode(bytes, name);
    }

    /// Reads a picture from a file's bytes.
    ///
    /// @param name what messages call the picture
    public static RgbImage decode(byte[] bytes, String name) {
        if (bytes.length == 0) {
            throw new InputException(name, "is empty", "fetch or make the file again");
        }
        List<String> warnings = new ArrayList<>();
        BufferedImage image;
        try (ImageInputStream stream =
                new MemoryCacheImageInputStream(new ByteArrayInputStream(bytes))) {
            Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
            if (!readers.hasNext()) {
                throw new InputException(
                        name, "is not a picture of a known format", "use PNG, JPEG, GIF or BMP");
            }
            ImageReader reader = readers.next();
            try {
                reader.addIIOReadWarningListener((_, warning) -> warnings.add(warning));
                reader.setInput(stream, true, true);
                requireSize(reader.getWidth(0), reader.getHeight(0), name);
                image = reader.read(0);
            } finally {
                reader.dispose();
            }
        } catch (IOException | RuntimeException e) {
            // Decoders answer damaged data with whatever runtime exception it leads them to.
            if (e instanceof InputException input) {
                throw input;
            }
            throw damaged(name, e.getMessage() == null ? e.toString() : e.getMessage(), e);
        }
        for (String warning : warnings) {
            String lower = warning.toLowerCase(Locale.ROOT);
            if (lower.contains("truncated")
                    || lower.contains("premature")
                    || lower.contains("corrupt")) {
                throw damaged(name, warning, null);
            }
        }
        return rgb(image);
    }

    private static InputException damaged(String name, String why, @Nullable Throwable cause) {
        String text = "is damaged or cut off (%s)".formatted(why.lines().findFirst().orElse(""));
        String cure = "fetch or make the file again";
        return cause == null
                ? new InputException(name, text, cure)
                : new InputException(name, text, cure, cause);
    }

    private static void requireSize(int width, int height, String name) {
        if (width < 1 || height < 1) {
            throw new InputException(
                    name,
                    "has a size of %dx%d".formatted(width, height),
                    "fetch or make the file again");
        }
        if ((long) width * height > MAX_PIXELS) {
            throw new InputException(
                    name,
                    "has %dx%d pixels, more than %d million"
                            .formatted(width, height, MAX_PIXELS / 1_000_000),
                    "scale it down");
        }
    }

    /// Samples are taken as they are in the file. `BufferedImage.getRGB` would convert grey through
    /// a linear colour space and change every value.
    private static RgbImage rgb(BufferedImage image) {
        int width = image.getWidth();
        int height = image.getHeight();
        byte[] values = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
        ColorModel model = image.getColorModel();
        if (hasPlainSamples(model)) {
            samples(image.getRaster(), values);
            return new RgbImage(width, height, values);
        }
        int[] row = new int[width];
        int offset = 0;
        for (int y = 0; y < height; y++) {
            if (model instanceof IndexColorModel palette) {
                image.getRaster().getSamples(0, y, width, 1, 0, row);
                for (int x = 0; x < width; x++) {
                    row[x] = palette.getRGB(row[x]);
                }
            } else {
                image.getRGB(0, y, width, 1, row, 0, width);
            }
            for (int rgb : row) {
                values[offset++] = (byte) (rgb >> 16);
                values[offset++] = (byte) (rgb >> 8);
                values[offset++] = (byte) rgb;
            }
        }
        return new RgbImage(width, height, values);
    }

    private static boolean hasPlainSamples(ColorModel model) {
        int space = model.getColorSpace().getType();
        int type = model.getTransferType();
        return model instanceof ComponentColorModel
                && !model.isAlphaPremultiplied()
                && (space == ColorSpace.TYPE_GRAY || space == ColorSpace.TYPE_RGB)
                && (type == DataBuffer.TYPE_BYTE || type == DataBuffer.TYPE_USHORT);
    }

    private static void samples(Raster raster, byte[] values) {
        int width = raster.getWidth();
        int shift = raster.getTransferType() == DataBuffer.TYPE_USHORT ? 8 : 0;
        boolean grey = raster.getNumBands() < 3;
        int[] row = new int[width];
        for (int y = 0; y < raster.getHeight(); y++) {
            for (int colour = 0; colour < 3; colour++) {
                if (colour == 0 || !grey) {
                    raster.getSamples(0, y, width, 1, colour, row);
                }
                int offset = 3 * y * width + colour;
                for (int value : row) {
                    values[offset] = (byte) (value >> shift);
                    offset += 3;
                }
            }
        }
    }
}
