package dev.saccade.kernels.testing;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;

/// Operands that begin some elements behind the start of their memory, where 16-byte accesses may
/// not reach, with one element more than the operand behind it.
public final class Placed {
    private Placed() {}

    /// An operand of these values, each rounded to nearest even, behind `shift` elements.
    public static Span of(Buffers buffers, DType dtype, int shift, float[] values) {
        float[] all = new float[shift + values.length + 1];
        System.arraycopy(values, 0, all, shift, values.length);
        return buffers.of(dtype, all).slice(shift, values.length);
    }

    /// A poisoned operand behind `shift` elements.
    public static Span poison(Buffers buffers, DType dtype, int shift, int elements) {
        return buffers.poison(dtype, shift + elements + 1).slice(shift, elements);
    }

    /// The values of an operand from [#poison], after a check that its surroundings still are
    /// poison.
    public static float[] floats(Buffers buffers, Span span) {
        float[] all = buffers.floats(Span.of(span.buffer(), span.dtype()));
        int from = (int) span.offset();
        int to = from + (int) span.length();
        float[] values = new float[to - from];
        for (int i = 0; i < all.length; i++) {
            if (i >= from && i < to) {
                values[i - from] = all[i];
            } else {
                assertThat(all[i]).as("element %d, outside %d to %d", i, from, to).isNaN();
            }
        }
        return values;
    }
}
