package dev.saccade.kernels.patch;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// The patch embedding's copies and sums on the CPU.
final class HostPatch implements Patch {
    /// Elements below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 16;

    private final HostDevice device;

    HostPatch(HostDevice device) {
        this.device = device;
    }

    @Override
    public void unfold(
            int tiles,
            int channels,
            int height,
            int width,
            int patch,
            int pitch,
            Span pixels,
            Span patches) {
        Patch.requireImage(channels, height, width, patch, pitch);
        long elements = (long) tiles * channels * height * width;
        long from = pixels.require("pixels", DType.F32, elements);
        int patchRows = height / patch;
        int patchColumns = width / patch;
        int patchElements = channels * patch * patch;
        long to =
                patches.require(
                        "patches", DType.F32, (long) tiles * patchRows * patchColumns * pitch);
        // A part is one row of patches of one tile.
        over(
                tiles * patchRows,
                elements,
                (_, begin, end) -> {
                    for (int part = begin; part < end; part++) {
                        long tile = from + 4L * (part / patchRows) * channels * height * width;
                        long firstLine = (long) (part % patchRows) * patch;
                        long target = to + 4L * pitch * patchColumns * part;
                        for (int channel = 0; channel < channels; channel++) {
                            for (int y = 0; y < patch; y++) {
                                long line =
                                        tile
                                                + 4L
                                                        * width
                                                        * ((long) channel * height + firstLine + y);
                                long inPatch = 4L * patch * ((long) channel * patch + y);
                                for (int column = 0; column < patchColumns; column++) {
                                    copy(
                                            patch,
                                            line + 4L * patch * column,
                                            target + 4L * pitch * column + inPatch);
                                }
                            }
                        }
                        for (int column = 0; column < patchColumns; column++) {
                            zero(
                                    pitch - patchElements,
                                    target + 4L * pitch * column + 4L * patchElements);
                        }
                    }
                });
    }

    @Override
    public void fit(int rows, int fromWidth, int toWidth, Span from, Span to) {
        long source = from.require("from", DType.F32, (long) rows * fromWidth);
        long target = to.require("to", DType.F32, (long) rows * toWidth);
        int width = Math.min(fromWidth, toWidth);
        over(
                rows,
                (long) rows * toWidth,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        long line = target + 4L * toWidth * row;
                        copy(width, source + 4L * fromWidth * row, line);
                        zero(toWidth - width, line + 4L * width);
                    }
                });
    }

    @Override
    public void assemble(
            int tiles, int patches, int width, Span embedded, Span cls, Span position, Span out) {
        long rows = 1L + patches;
        long fromEmbedded = embedded.require("embedded", DType.F32, (long) tiles * patches * width);
        long fromCls = cls.require("cls", DType.F32, width);
        long fromPosition = position.require("position", DType.F32, rows * width);
        long to = out.require("out", DType.F32, tiles * rows * width);
        over(
                Math.toIntExact(tiles * rows),
                tiles * rows * width,
                (_, begin, end) -> {
                    for (int part = begin; part < end; part++) {
                        long tile = part / rows;
                        long row = part % rows;
                        long token =
                                row == 0
                                        ? fromCls
                                        : fromEmbedded + 4L * width * (tile * patches + row - 1);
                        add(width, token, fromPosition + 4L * width * row, to + 4L * width * part);
                    }
                });
    }

    @Override
    public void assembleBackward(
            int tiles,
            int patches,
            int width,
            Span dOut,
            @Nullable Span dEmbedded,
            @Nullable Span dCls,
            @Nullable Span dPosition) {
        long rows = 1L + patches;
        long elements = tiles * rows * width;
        long from = dOut.require("dOut", DType.F32, elements);
        long toEmbedded =
                dEmbedded == null
                        ? 0
                        : dEmbedded.require("dEmbedded", DType.F32, (long) tiles * patches * width);
        long toCls = dCls == null ? 0 : dCls.require("dCls", DType.F32, width);
        long toPosition =
                dPosition == null ? 0 : dPosition.require("dPosition", DType.F32, rows * width);
        // A part is one row of all tiles, so that the sums over tiles are one chain.
        over(
                Math.toIntExact(rows),
                elements,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        for (int tile = 0; tile < tiles; tile++) {
                            long gradient = from + 4L * width * (tile * rows + row);
                            if (toPosition != 0) {
                                long sum = toPosition + 4L * width * row;
                                add(width, sum, gradient, sum);
                            }
                            if (row == 0 && toCls != 0) {
                                add(width, toCls, gradient, toCls);
                            }
                            if (row > 0 && toEmbedded != 0) {
                                long patch = (long) tile * patches + row - 1;
                                copy(width, gradient, toEmbedded + 4L * width * patch);
                            }
                        }
                    }
                });
    }

    private static void copy(int count, long from, long to) {
        int i = 0;
        for (; i + Lanes.LENGTH <= count; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(from + 4L * i), to + 4L * i);
        }
        if (i < count) {
            VectorMask<Float> mask = Lanes.first(count - i);
            Lanes.store(Lanes.load(from + 4L * i, mask), to + 4L * i, mask);
        }
    }

    private static void zero(int count, long to) {
        FloatVector zeros = FloatVector.zero(Lanes.SPECIES);
        int i = 0;
        for (; i + Lanes.LENGTH <= count; i += Lanes.LENGTH) {
            Lanes.store(zeros, to + 4L * i);
        }
        if (i < count) {
            Lanes.store(zeros, to + 4L * i, Lanes.first(count - i));
        }
    }

    private static void add(int count, long a, long b, long y) {
        int i = 0;
        for (; i + Lanes.LENGTH <= count; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(a + 4L * i).add(Lanes.load(b + 4L * i)), y + 4L * i);
        }
        if (i < count) {
            VectorMask<Float> mask = Lanes.first(count - i);
            FloatVector sum = Lanes.load(a + 4L * i, mask).add(Lanes.load(b + 4L * i, mask));
            Lanes.store(sum, y + 4L * i, mask);
        }
    }

    private void over(int parts, long elements, HostDevice.Part part) {
        if (elements <= SMALL) {
            part.run(0, 0, parts);
        } else {
            device.run(parts, part);
        }
    }
}
