package dev.saccade.model.image;

import com.twelvemonkeys.imageio.plugins.jpeg.JPEGImageReaderSpi;
import com.twelvemonkeys.imageio.plugins.webp.WebPImageReaderSpi;
import dev.saccade.engine.InputException;
import java.awt.image.BufferedImage;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.spi.IIORegistry;
import javax.imageio.spi.ImageReaderSpi;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;

/// The decoders that are used, each chosen by name: which others lie on the class path makes no
/// difference. PNG, GIF and BMP are the JDK's own; JPEG and lossless WebP are TwelveMonkeys'. Lossy
/// WebP is not decoded here but by [Vp8Frame].
final class Decoder {
    static final Decoder PNG = new Decoder(ofJdk("png"));
    static final Decoder GIF = new Decoder(ofJdk("gif"));
    static final Decoder BMP = new Decoder(ofJdk("bmp"));
    static final Decoder JPEG = new Decoder(jpeg());
    static final Decoder LOSSLESS_WEBP = new Decoder(new WebPImageReaderSpi());

    private final ImageReaderSpi provider;

    private Decoder(ImageReaderSpi provider) {
        this.provider = provider;
    }

    private static ImageReaderSpi ofJdk(String format) {
        Iterator<ImageReader> readers = ImageIO.getImageReadersByFormatName(format);
        while (readers.hasNext()) {
            ImageReaderSpi provider = readers.next().getOriginatingProvider();
            if (provider.getClass().getModule() == ImageIO.class.getModule()) {
                return provider;
            }
        }
        throw new IllegalStateException("this Java has no decoder for " + format);
    }

    /// It finds the JDK's decoder, on which it builds, when it is registered.
    private static ImageReaderSpi jpeg() {
        IIORegistry registry = IIORegistry.getDefaultInstance();
        JPEGImageReaderSpi known = registry.getServiceProviderByClass(JPEGImageReaderSpi.class);
        if (known != null) {
            return known;
        }
        JPEGImageReaderSpi provider = new JPEGImageReaderSpi();
        registry.registerServiceProvider(provider, ImageReaderSpi.class);
        return provider;
    }

    /// The picture as the decoder gives it.
    ///
    /// @param width its width as the header says
    /// @param height its height as the header says
    BufferedImage read(ImageBytes file, int width, int height) {
        return use(file, width, height, reader -> reader.read(0));
    }

    /// The samples as they are in the file, in no colour space.
    Raster readRaster(ImageBytes file, int width, int height) {
        return use(file, width, height, reader -> reader.readRaster(0, null));
    }

    private interface Reading<T> {
        T read(ImageReader reader) throws IOException;
    }

    private <T> T use(ImageBytes file, int width, int height, Reading<T> reading) {
        List<String> warnings = new ArrayList<>();
        T result;
        try (ImageInputStream stream =
                new MemoryCacheImageInputStream(new ByteArrayInputStream(file.bytes()))) {
            ImageReader reader = provider.createReaderInstance();
            try {
                reader.addIIOReadWarningListener((_, warning) -> warnings.add(warning));
                reader.setInput(stream, true, true);
                if (reader.getWidth(0) != width || reader.getHeight(0) != height) {
                    throw new IOException(
                            "two sizes, of which one is %dx%d".formatted(width, height));
                }
                result = reading.read(reader);
            } finally {
                reader.dispose();
            }
        } catch (IOException | RuntimeException e) {
            // Decoders answer damaged data with whatever runtime exception it leads them to.
            if (e instanceof InputException input) {
                throw input;
            }
            throw file.damaged(e);
        }
        for (String warning : warnings) {
            String lower = warning.toLowerCase(Locale.ROOT);
            if (lower.contains("truncated") || lower.contains("premature")) {
                throw file.damaged(new IOException(warning));
            }
        }
        return result;
    }
}
