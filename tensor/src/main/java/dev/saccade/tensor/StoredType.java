package dev.saccade.tensor;

import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The element types that the safetensors format has, under its names. All can be listed and copied
/// as bytes; few can be read as numbers.
enum StoredType {
    BOOL(8),
    U8(8),
    I8(8),
    F8_E4M3(8),
    F8_E4M3FNUZ(8),
    F8_E5M2(8),
    F8_E5M2FNUZ(8),
    F8_E8M0(8),
    F4(4),
    F6_E2M3(6),
    F6_E3M2(6),
    I16(16),
    U16(16),
    F16(16),
    BF16(16),
    I32(32),
    U32(32),
    F32(32),
    I64(64),
    U64(64),
    F64(64),
    C64(64);

    private static final Map<String, StoredType> BY_NAME = new HashMap<>();

    static {
        for (StoredType type : values()) {
            BY_NAME.put(type.name(), type);
        }
    }

    private final int bits;

    StoredType(int bits) {
        this.bits = bits;
    }

    /// The type of this name; null when the format has none.
    static @Nullable StoredType named(String name) {
        return BY_NAME.get(name);
    }

    /// Bytes of a tensor. Elements narrower than a byte are packed, and fill whole bytes together.
    ///
    /// @return -1 when they don't
    /// @throws ArithmeticException when the size is more than a long holds
    long bytes(Shape shape) {
        long all = Math.multiplyExact(shape.elements(), (long) bits);
        return all % Byte.SIZE == 0 ? all / Byte.SIZE : -1;
    }

    /// Whether the elements can be read as floating-point numbers.
    boolean isReadAsFloats() {
        return switch (this) {
            case F64, F32, F16, BF16 -> true;
            default -> false;
        };
    }
}
