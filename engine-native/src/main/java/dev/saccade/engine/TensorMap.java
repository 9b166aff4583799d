package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.Structs;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// How the tensor memory accelerator (TMA, compute capability 9.0) finds tiles of an array: a
/// CUtensorMap, given to a kernel by value as `const __grid_constant__ CUtensorMap`.
///
/// ```java
/// map.address(weights).dimension(0, k, 64).dimension(1, n, k * 2, 128).swizzle(Swizzle.B128).encode();
/// kernel.begin().tensorMap(map)...
/// ```
///
/// Dimension 0 is the one whose elements lie side by side. The object is made once and encoded
/// again when something changes; nothing is allocated. See cuTensorMapEncodeTiled.
public final class TensorMap {

    /// Element types, with the values of CUtensorMapDataType.
    public enum Element {
        UINT8(0, 1),
        UINT16(1, 2),
        UINT32(2, 4),
        INT32(3, 4),
        UINT64(4, 8),
        INT64(5, 8),
        FLOAT16(6, 2),
        FLOAT32(7, 4),
        FLOAT64(8, 8),
        BFLOAT16(9, 2);

        private final int code;
        private final int bytes;

        Element(int code, int bytes) {
            this.code = code;
            this.bytes = bytes;
        }

        int code() {
            return code;
        }
    }

    /// How 16-byte pieces are permuted in shared memory, with the values of CUtensorMapSwizzle:
    /// within spans of that many bytes.
    public enum Swizzle {
        NONE(0),
        B32(1),
        B64(2),
        B128(3);

        private final int code;

        Swizzle(int code) {
            this.code = code;
        }

        int code() {
            return code;
        }
    }

    /// How much a fetch brings into the second-level cache, with the values of
    /// CUtensorMapL2promotion.
    public enum Promotion {
        NONE(0),
        B64(1),
        B128(2),
        B256(3);

        private final int code;

        Promotion(int code) {
            this.code = code;
        }

        int code() {
            return code;
        }
    }

    private static final int MOST_DIMENSIONS = 5;

    private final CudaContext context;
    private final Element element;
    private final int rank;
    private final MemorySegment map;
    private final MemorySegment sizes;
    private final MemorySegment strides;
    private final MemorySegment box;
    private final MemorySegment elementStrides;
    private long address;
    private Swizzle swizzle = Swizzle.NONE;
    private Promotion promotion = Promotion.NONE;
    private boolean encoded;

    TensorMap(CudaContext context, Element element, int rank) {
        if (rank < 1 || rank > MOST_DIMENSIONS) {
            throw new IllegalArgumentException("a tensor map of " + rank + " dimensions");
        }
        this.context = context;
        this.element = element;
        this.rank = rank;
        Arena arena = context.arena;
        map = arena.allocate(Structs.TENSOR_MAP);
        sizes = arena.allocate(ValueLayout.JAVA_LONG, rank);
        strides = arena.allocate(ValueLayout.JAVA_LONG, rank);
        box = arena.allocate(ValueLayout.JAVA_INT, rank);
        elementStrides = arena.allocate(ValueLayout.JAVA_INT, rank);
        for (int i = 0; i < rank; i++) {
            elementStrides.setAtIndex(ValueLayout.JAVA_INT, i, 1);
        }
    }

    /// Where element 0 lies; a multiple of 16.
    public TensorMap address(long value) {
        address = value;
        encoded = false;
        return this;
    }

    /// Dimension 0: its elements, and those of them that a tile has.
    public TensorMap dimension(int index, long size, int boxSize) {
        if (index != 0) {
            throw new IllegalArgumentException(
                    "dimension " + index + " of a tensor map needs a stride");
        }
        return set(index, size, boxSize);
    }

    /// A further dimension: its elements, the bytes from one to the next (a multiple of 16), and
    /// those of them that a tile has.
    public TensorMap dimension(int index, long size, long strideBytes, int boxSize) {
        if (index < 1 || index >= rank) {
            throw new IllegalArgumentException(
                    "dimension " + index + " with a stride, of a tensor map of rank " + rank);
        }
        strides.setAtIndex(ValueLayout.JAVA_LONG, index - 1, strideBytes);
        return set(index, size, boxSize);
    }

    private TensorMap set(int index, long size, int boxSize) {
        sizes.setAtIndex(ValueLayout.JAVA_LONG, index, size);
        box.setAtIndex(ValueLayout.JAVA_INT, index, boxSize);
        encoded = false;
        return this;
    }

    public TensorMap swizzle(Swizzle value) {
        swizzle = value;
        encoded = false;
        return this;
    }

    public TensorMap promotion(Promotion value) {
        promotion = value;
        encoded = false;
        return this;
    }

    /// Makes the descriptor from what was set.
    ///
    /// @throws CudaException when the driver refuses it; the message says what was asked for
    public TensorMap encode() {
        context.enter();
        int code =
                context.driver.cuTensorMapEncodeTiled(
                        map,
                        element.code(),
                        rank,
                        address,
                        sizes,
                        strides,
                        box,
                        elementStrides,
                        swizzle.code(),
                        promotion.code());
        if (code != CudaDriver.SUCCESS) {
            throw context.failure(code, "cuTensorMapEncodeTiled", null, null, "; of a " + this);
        }
        encoded = true;
        return this;
    }

    /// The 128 bytes of the descriptor.
    MemorySegment encoded() {
        if (!encoded) {
            throw new IllegalStateException("the " + this + " has changed since encode()");
        }
        return map;
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("tensor map of ").append(element).append(" at 0x");
        text.append(Long.toHexString(address));
        for (int i = 0; i < rank; i++) {
            text.append(i == 0 ? ", " : " x ");
            text.append(sizes.getAtIndex(ValueLayout.JAVA_LONG, i));
            text.append(" (box ").append(box.getAtIndex(ValueLayout.JAVA_INT, i));
            long stride = i == 0 ? element.bytes : strides.getAtIndex(ValueLayout.JAVA_LONG, i - 1);
            text.append(", stride ").append(stride).append(" bytes)");
        }
        return text.append(", swizzle ").append(swizzle).toString();
    }
}
