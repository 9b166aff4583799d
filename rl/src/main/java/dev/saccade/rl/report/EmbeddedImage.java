package dev.saccade.rl.report;

import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import javax.imageio.ImageIO;
import org.jspecify.annotations.Nullable;

/// A picture as a data URI. Only what is a picture is ever embedded, whatever file a run names.
///
/// @param uri the picture
/// @param width in pixels
/// @param height in pixels
record EmbeddedImage(String uri, int width, int height) {
    private static final long MOST_FILE_BYTES = 64L << 20;
    private static final int MOST_PIXELS = 512;

    /// Smaller pictures are shown enlarged without smoothing.
    private static final int SMALL_PIXELS = 128;

    /// Reads a picture and makes large ones smaller.
    ///
    /// @param run the run's folder
    /// @param name the picture's file relative to it
    /// @return null when there is no such picture
    static @Nullable EmbeddedImage read(Path run, String name) {
        try {
            Path file = run.resolve(name);
            if (!Files.isRegularFile(file) || Files.size(file) > MOST_FILE_BYTES) {
                return null;
            }
            @Nullable BufferedImage image =
                    ImageIO.read(new ByteArrayInputStream(Files.readAllBytes(file)));
            return image == null ? null : encode(image);
        } catch (IOException | RuntimeException e) {
            // Readers throw whatever they like at a damaged picture, and it is only a picture.
            return null;
        }
    }

    private static EmbeddedImage encode(BufferedImage image) throws IOException {
        double scale =
                Math.min(1, (double) MOST_PIXELS / Math.max(image.getWidth(), image.getHeight()));
        int width = Math.max(1, (int) Math.round(image.getWidth() * scale));
        int height = Math.max(1, (int) Math.round(image.getHeight() * scale));
        BufferedImage drawn = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = drawn.createGraphics();
        graphics.setRenderingHint(
                RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BICUBIC);
        graphics.drawImage(image, 0, 0, width, height, null);
        graphics.dispose();
        String format = Math.max(width, height) > 2 * SMALL_PIXELS ? "jpeg" : "png";
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        if (!ImageIO.write(drawn, format, bytes)) {
            throw new IOException("no writer for " + format);
        }
        return new EmbeddedImage(
                "data:image/%s;base64,%s"
                        .formatted(format, Base64.getEncoder().encodeToString(bytes.toByteArray())),
                width,
                height);
    }

    boolean isSmall() {
        return Math.max(width, height) <= SMALL_PIXELS;
    }
}
