package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;

/// One operand of a case, once for each set of operands that the measurement goes round.
///
/// @param sets the memory of each set
/// @param noise where the numbers come from; null for what is a result at first
/// @param phase index in the noise of the first element of set 0
record Operand(Span[] sets, float[] noise, long phase) {

    Span set(int index) {
        return sets[index % sets.length];
    }

    DType dtype() {
        return sets[0].dtype();
    }

    /// What element `index` of set 0 was filled with.
    double value(long index) {
        return noise[(int) ((phase + index) % noise.length)];
    }
}
