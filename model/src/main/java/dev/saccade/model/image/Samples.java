package dev.saccade.model.image;

import java.awt.color.ColorSpace;
import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.ComponentColorModel;
import java.awt.image.ComponentSampleModel;
import java.awt.image.DataBuffer;
import java.awt.image.DataBufferByte;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.util.function.IntUnaryOperator;

/// Decoded samples to red, green and blue, as they are in the file: `BufferedImage.getRGB` would
/// convert grey through a linear colour space and change every value.
final class Samples {
    private Samples() {}

    /// @param narrow what becomes of samples of 16 bits
    static RgbImage rgb(BufferedImage image, IntUnaryOperator narrow) {
        ColorModel model = image.getColorModel();
        if (hasPlainSamples(model)) {
            boolean wide = model.getTransferType() == DataBuffer.TYPE_USHORT;
            return rgb(image.getRaster(), wide ? narrow : IntUnaryOperator.identity());
        }
        int width = image.getWidth();
        int height = image.getHeight();
        byte[] values = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
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

    private static RgbImage rgb(Raster raster, IntUnaryOperator narrow) {
        return new RgbImage(
                raster.getWidth(),
                raster.getHeight(),
                interleaved(raster, raster.getNumBands() < 3 ? 1 : 3, narrow));
    }

    /// The first one or three bands as [height, width, 3], one band three times; the raster's own
    /// memory where it has that layout already.
    static byte[] interleaved(Raster raster, int bands, IntUnaryOperator narrow) {
        if (bands == 3 && isInterleaved(raster)) {
            return ((DataBufferByte) raster.getDataBuffer()).getData();
        }
        int width = raster.getWidth();
        int height = raster.getHeight();
        byte[] values = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
        int[] row = new int[width];
        for (int y = 0; y < height; y++) {
            for (int color = 0; color < 3; color++) {
                if (color < bands) {
                    raster.getSamples(0, y, width, 1, color, row);
                }
                int offset = 3 * y * width + color;
                for (int value : row) {
                    values[offset] = (byte) narrow.applyAsInt(value);
                    offset += 3;
                }
            }
        }
        return values;
    }

    private static boolean isInterleaved(Raster raster) {
        return raster.getDataBuffer() instanceof DataBufferByte data
                && raster.getSampleModel() instanceof ComponentSampleModel model
                && model.getNumBands() == 3
                && model.getPixelStride() == 3
                && model.getScanlineStride() == 3 * raster.getWidth()
                && model.getBandOffsets()[0] == 0
                && model.getBandOffsets()[1] == 1
                && model.getBandOffsets()[2] == 2
                && raster.getParent() == null
                && data.getNumBanks() == 1
                && data.getOffset() == 0
                && data.getSize() == 3 * raster.getWidth() * raster.getHeight();
    }
}
