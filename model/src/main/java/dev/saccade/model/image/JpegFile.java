package dev.saccade.model.image;

import java.awt.image.Raster;
import java.util.function.IntUnaryOperator;

/// A JPEG file: its markers are walked to the last one. The decoder gives the samples as they are
/// stored; they become red, green and blue in the integers of libjpeg, so colours are bit for bit
/// those of Pillow. A colour profile is not applied.
record JpegFile(ImageBytes file, int width, int height, Orientation orientation, Coding coding)
        implements ImageFile {
    static final String SIGNATURE = "\u00ff\u00d8\u00ff";

    /// One bit for the mean of an 8x8 block is the least there is.
    private static final long MOST_PIXELS_PER_BYTE = 512;

    /// Each scan goes over the whole picture, however short it is.
    private static final int MOST_SCANS = 100;

    /// What the components are.
    enum Coding {
        GREY,
        RGB,
        YCBCR,
        CMYK,
        YCCK
    }

    static JpegFile open(ImageBytes file) {
        return new Walk(file).walk();
    }

    /// The way over the markers.
    private static final class Walk {
        private final ImageBytes file;
        private Orientation orientation = Orientation.UPRIGHT;
        private boolean jfif;
        private int adobeTransform = -1;
        private int frame = -1;
        private int scans;

        Walk(ImageBytes file) {
            this.file = file;
        }

        JpegFile walk() {
            int at = 2;
            while (true) {
                at = endOfFill(at);
                int marker = file.u8(at);
                if (marker == 0xd9) {
                    break;
                }
                at++;
                if ((marker >= 0xd0 && marker <= 0xd8) || marker == 0x01) {
                    continue; // markers without a segment
                }
                int length = file.u16BigEndian(at);
                file.require(at, length);
                if (length < 2) {
                    throw file.damaged(at, "a segment of %d bytes".formatted(length));
                }
                segment(marker, at + 2, at + length);
                at += length;
                if (marker == 0xda) {
                    scans++;
                    at = endOfScan(at);
                }
            }
            if (frame < 0 || scans == 0) {
                throw file.damaged(at, "no pixels");
            }
            if (scans > MOST_SCANS) {
                throw file.unsupported("has %d scans, more than %d".formatted(scans, MOST_SCANS));
            }
            int height = file.u16BigEndian(frame + 1);
            int width = file.u16BigEndian(frame + 3);
            if ((long) width * height > file.length() * MOST_PIXELS_PER_BYTE) {
                throw file.tooShort(width, height);
            }
            return new JpegFile(file, width, height, orientation, coding());
        }

        /// Any number of bytes 0xff may stand before a marker; what else stands there is left out,
        /// as libjpeg does.
        private int endOfFill(int begin) {
            int at = begin;
            while (true) {
                while (file.u8(at) != 0xff) {
                    at++;
                }
                while (file.u8(at) == 0xff) {
                    at++;
                }
                if (file.u8(at) != 0) {
                    return at;
                }
            }
        }

        /// Where the marker after a scan's coded bits begins.
        private int endOfScan(int begin) {
            byte[] bytes = file.bytes();
            int at = begin;
            while (at + 1 < bytes.length) {
                if (bytes[at] == (byte) 0xff) {
                    int next = bytes[at + 1] & 0xff;
                    if (next != 0 && next != 0xff && (next < 0xd0 || next > 0xd7)) {
                        return at;
                    }
                }
                at++;
            }
            throw file.cutOff();
        }

        private void segment(int marker, int begin, int end) {
            switch (marker) {
                case 0xe0 -> jfif |= file.has(begin, "JFIF\0");
                case 0xe1 -> {
                    if (file.has(begin, "Exif\0\0") && end - begin > 6) {
                        orientation = Orientation.ofExif(file.slice(begin + 6, end));
                    }
                }
                case 0xee -> {
                    if (file.has(begin, "Adobe") && end - begin >= 12) {
                        adobeTransform = file.u8(begin + 11);
                    }
                }
                case 0xc0, 0xc1, 0xc2 -> startOfFrame(begin, end);
                case 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf ->
                        throw file.unsupported(
                                "is a JPEG of a rare kind (SOF%d: lossless, hierarchical or arithmetic)"
                                        .formatted(marker - 0xc0));
                default -> {}
            }
        }

        private void startOfFrame(int begin, int end) {
            if (frame >= 0) {
                throw file.damaged(begin, "a second frame");
            }
            if (file.u8(begin) != 8) {
                throw file.unsupported("is a JPEG of %d bits a sample".formatted(file.u8(begin)));
            }
            int components = file.u8(begin + 5);
            if (end - begin != 6 + 3 * components) {
                throw file.damaged(begin, "a frame of %d components".formatted(components));
            }
            frame = begin;
        }

        /// By the rules of libjpeg.
        private Coding coding() {
            int components = file.u8(frame + 5);
            return switch (components) {
                case 1 -> Coding.GREY;
                case 3 -> {
                    boolean named =
                            file.u8(frame + 6) == 'R'
                                    && file.u8(frame + 9) == 'G'
                                    && file.u8(frame + 12) == 'B';
                    boolean plain = adobeTransform >= 0 ? adobeTransform == 0 : named;
                    yield !jfif && plain ? Coding.RGB : Coding.YCBCR;
                }
                case 4 -> adobeTransform > 0 ? Coding.YCCK : Coding.CMYK;
                default ->
                        throw file.unsupported("is a JPEG of %d components".formatted(components));
            };
        }
    }

    @Override
    public RgbImage decode() {
        Raster raster = Decoder.JPEG.readRaster(file, width, height);
        int expected =
                switch (coding) {
                    case GREY -> 1;
                    case RGB, YCBCR -> 3;
                    case CMYK, YCCK -> 4;
                };
        if (raster.getNumBands() != expected) {
            throw file.damaged(
                    0, "%d components, expected %d".formatted(raster.getNumBands(), expected));
        }
        byte[] values =
                Samples.interleaved(raster, Math.min(3, expected), IntUnaryOperator.identity());
        if (coding == Coding.YCBCR || coding == Coding.YCCK) {
            toRgb(values);
        }
        if (expected == 4) {
            blacken(values, raster);
        }
        return new RgbImage(width, height, values);
    }

    /// YCbCr to red, green and blue in 16 fractional bits.
    private static void toRgb(byte[] values) {
        int half = 1 << 15;
        for (int i = 0; i < values.length; i += 3) {
            int y = values[i] & 0xff;
            int cb = (values[i + 1] & 0xff) - 128;
            int cr = (values[i + 2] & 0xff) - 128;
            values[i] = clip(y + ((91881 * cr + half) >> 16));
            values[i + 1] = clip(y + ((-22554 * cb - 46802 * cr + half) >> 16));
            values[i + 2] = clip(y + ((116130 * cb + half) >> 16));
        }
    }

    private static byte clip(int value) {
        return (byte) Math.clamp(value, 0, 255);
    }

    /// Inks to light. What is stored is taken as inverted, as every writer of such files does.
    private void blacken(byte[] values, Raster raster) {
        int[] black = new int[width];
        int i = 0;
        for (int y = 0; y < height; y++) {
            raster.getSamples(0, y, width, 1, 3, black);
            for (int light : black) {
                for (int color = 0; color < 3; color++) {
                    int stored = values[i] & 0xff;
                    int ink = coding == Coding.YCCK ? stored : 255 - stored;
                    int product = ink * light + 128;
                    values[i++] = clip(light - ((product + (product >> 8)) >> 8));
                }
            }
        }
    }
}
