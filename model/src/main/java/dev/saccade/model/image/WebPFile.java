package dev.saccade.model.image;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.function.IntUnaryOperator;

/// A WebP file, of which the first frame counts. Transparency and colour profile are left out, so
/// only the frame's own chunk is decoded.
///
/// @param width of the canvas
/// @param height of the canvas
/// @param frame the first frame
record WebPFile(ImageBytes file, int width, int height, Frame frame, Orientation orientation)
        implements ImageFile {
    private static final int FILE_HEADER_BYTES = 12;
    private static final int CHUNK_HEADER_BYTES = 8;
    private static final int ANIMATION_FRAME_BYTES = 16;

    /// A frame's bit stream and its place on the canvas.
    ///
    /// @param begin where its chunk begins in the file
    /// @param end where its chunk ends
    /// @param lossy whether it is a VP8 frame
    record Frame(int begin, int end, boolean lossy, int left, int top, int width, int height) {}

    static WebPFile open(ImageBytes file) {
        long end = file.u32LittleEndian(4) + CHUNK_HEADER_BYTES;
        file.require(0, end);
        return new Walk(file).walk(FILE_HEADER_BYTES, (int) end);
    }

    /// The way over the chunks.
    private static final class Walk {
        private final ImageBytes file;
        private int width = -1;
        private int height = -1;
        private Frame frame = new Frame(0, 0, false, 0, 0, 0, 0);
        private Orientation orientation = Orientation.UPRIGHT;

        Walk(ImageBytes file) {
            this.file = file;
        }

        WebPFile walk(int begin, int end) {
            chunks(begin, end, 0, 0, false);
            if (frame.end == 0) {
                throw file.damaged(end, "no frame");
            }
            if (width < 0) {
                width = frame.width;
                height = frame.height;
            }
            if (frame.width < 1
                    || frame.height < 1
                    || frame.left + frame.width > width
                    || frame.top + frame.height > height) {
                throw file.damaged(
                        frame.begin,
                        "a frame of %dx%d at %d,%d on a canvas of %dx%d"
                                .formatted(
                                        frame.width,
                                        frame.height,
                                        frame.left,
                                        frame.top,
                                        width,
                                        height));
            }
            return new WebPFile(file, width, height, frame, orientation);
        }

        /// @param inFrame within a frame of an animation, which holds no further frames
        private void chunks(int begin, int end, int left, int top, boolean inFrame) {
            int at = begin;
            while (at + CHUNK_HEADER_BYTES <= end) {
                long length = file.u32LittleEndian(at + 4);
                int data = at + CHUNK_HEADER_BYTES;
                if (data + length > end) {
                    throw file.damaged(at, "a chunk of %d bytes beyond the end".formatted(length));
                }
                int dataEnd = data + (int) length;
                if (file.has(at, "VP8X") && width < 0) {
                    width = file.u24LittleEndian(data + 4) + 1;
                    height = file.u24LittleEndian(data + 7) + 1;
                } else if (file.has(at, "ANMF") && frame.end == 0 && !inFrame) {
                    file.require(data, ANIMATION_FRAME_BYTES);
                    chunks(
                            data + ANIMATION_FRAME_BYTES,
                            dataEnd,
                            2 * file.u24LittleEndian(data),
                            2 * file.u24LittleEndian(data + 3),
                            true);
                } else if (file.has(at, "VP8 ") && frame.end == 0) {
                    frame = lossy(at, data, dataEnd, left, top);
                } else if (file.has(at, "VP8L") && frame.end == 0) {
                    frame = lossless(at, data, dataEnd, left, top);
                } else if (file.has(at, "EXIF")) {
                    orientation = Orientation.ofExif(tiff(data, dataEnd));
                }
                at = dataEnd + (dataEnd & 1);
            }
        }

        /// Some writers keep JPEG's marker in front of the block.
        private byte[] tiff(int begin, int end) {
            return file.slice(file.has(begin, "Exif\0\0") ? Math.min(begin + 6, end) : begin, end);
        }

        private Frame lossy(int at, int data, int end, int left, int top) {
            if ((file.u8(data) & 1) != 0 || !file.has(data + 3, "\u009d\u0001*")) {
                throw file.damaged(data, "not the start of a key frame");
            }
            return new Frame(
                    at,
                    end,
                    true,
                    left,
                    top,
                    file.u16LittleEndian(data + 6) & 0x3fff,
                    file.u16LittleEndian(data + 8) & 0x3fff);
        }

        private Frame lossless(int at, int data, int end, int left, int top) {
            if (file.u8(data) != 0x2f) {
                throw file.damaged(data, "not the start of a lossless frame");
            }
            long sizes = file.u32LittleEndian(data + 1);
            return new Frame(
                    at,
                    end,
                    false,
                    left,
                    top,
                    (int) (sizes & 0x3fff) + 1,
                    (int) (sizes >> 14 & 0x3fff) + 1);
        }
    }

    @Override
    public RgbImage decode() {
        RgbImage image = frame.lossy ? decodeLossy() : decodeLossless();
        if (image.width() == width && image.height() == height) {
            return image;
        }
        byte[] values = new byte[Math.multiplyExact(3, Math.multiplyExact(width, height))];
        for (int y = 0; y < frame.height; y++) {
            System.arraycopy(
                    image.values(),
                    3 * y * frame.width,
                    values,
                    3 * ((frame.top + y) * width + frame.left),
                    3 * frame.width);
        }
        return new RgbImage(width, height, values);
    }

    private RgbImage decodeLossy() {
        return Vp8Frame.decode(
                file, frame.begin + CHUNK_HEADER_BYTES, frame.end, frame.width, frame.height);
    }

    private RgbImage decodeLossless() {
        return Samples.rgb(
                Decoder.LOSSLESS_WEBP.read(
                        new ImageBytes(frameAlone(), file.name()), frame.width, frame.height),
                IntUnaryOperator.identity());
    }

    /// A file of nothing but the frame.
    private byte[] frameAlone() {
        int length = frame.end - frame.begin;
        int padded = length + (length & 1);
        return ByteBuffer.allocate(FILE_HEADER_BYTES + padded)
                .order(ByteOrder.LITTLE_ENDIAN)
                .put(file.slice(0, 4))
                .putInt(4 + padded)
                .put(file.slice(8, FILE_HEADER_BYTES))
                .put(file.bytes(), frame.begin, length)
                .array();
    }
}
