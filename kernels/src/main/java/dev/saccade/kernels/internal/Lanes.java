package dev.saccade.kernels.internal;

import dev.saccade.engine.HostMemory;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorSpecies;

/// How the CPU kernels use vectors, so that results are the same on every machine.
///
/// Lanes of a pointwise operation never meet, so any vector length gives the same bits. A reduction
/// over a row always uses [#VIRTUAL] = 16 interleaved partial sums, element i in partial i mod 16,
/// whatever the machine's vector length: group g of `VIRTUAL / LENGTH` walks the elements `g *
/// LENGTH + 16 * i`, and [#tree(float[])] merges the 16 in a fixed order. `reduceLanes(ADD)` is
/// never used: the order of its additions is not defined.
public final class Lanes {
    /// Partial sums of every row reduction.
    public static final int VIRTUAL = 16;

    /// The machine's vectors, at most 512 bits.
    public static final VectorSpecies<Float> SPECIES =
            FloatVector.SPECIES_PREFERRED.length() > VIRTUAL
                    ? FloatVector.SPECIES_512
                    : FloatVector.SPECIES_PREFERRED;

    /// Floats in a vector: 16, 8 or 4.
    public static final int LENGTH = SPECIES.length();

    /// A float at an address.
    public static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    /// An int at an address.
    public static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;

    private Lanes() {}

    /// The vector at `address`.
    public static FloatVector load(long address) {
        return FloatVector.fromMemorySegment(
                SPECIES, HostMemory.SPACE, address, ByteOrder.nativeOrder());
    }

    /// The masked vector at `address`; lanes outside the mask are 0 and not touched.
    public static FloatVector load(long address, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(
                SPECIES, HostMemory.SPACE, address, ByteOrder.nativeOrder(), mask);
    }

    /// Stores a vector at `address`.
    public static void store(FloatVector vector, long address) {
        vector.intoMemorySegment(HostMemory.SPACE, address, ByteOrder.nativeOrder());
    }

    /// Stores the lanes of the mask at `address`.
    public static void store(FloatVector vector, long address, VectorMask<Float> mask) {
        vector.intoMemorySegment(HostMemory.SPACE, address, ByteOrder.nativeOrder(), mask);
    }

    /// The mask of the first `count` lanes; all when count is LENGTH or more.
    public static VectorMask<Float> first(int count) {
        return SPECIES.indexInRange(0, count);
    }

    /// The float at `address`.
    public static float get(long address) {
        return HostMemory.SPACE.get(FLOAT, address);
    }

    /// Stores a float at `address`.
    public static void set(long address, float value) {
        HostMemory.SPACE.set(FLOAT, address, value);
    }

    /// The int at `address`.
    public static int getInt(long address) {
        return HostMemory.SPACE.get(INT, address);
    }

    /// Stores the int at `address`.
    public static void setInt(long address, int value) {
        HostMemory.SPACE.set(INT, address, value);
    }

    /// Merges 16 partial sums: halves are added onto each other, 8 apart, then 4, 2, 1. Overwrites
    /// the array.
    public static float tree(float[] partial) {
        for (int half = VIRTUAL / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                partial[i] += partial[i + half];
            }
        }
        return partial[0];
    }
}
