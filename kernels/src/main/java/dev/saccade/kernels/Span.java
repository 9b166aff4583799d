package dev.saccade.kernels;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;

/// A run of elements of one type in a device buffer: what a kernel takes as an operand.
///
/// @param buffer the memory
/// @param offset the first element's index in the buffer, in elements
/// @param length how many elements
/// @param dtype their type
public record Span(DeviceBuffer buffer, long offset, long length, DType dtype) {

    public Span {
        if (offset < 0 || length < 0 || (offset + length) * dtype.bytes() > buffer.bytes()) {
            throw new IndexOutOfBoundsException(
                    "elements %d to %d of %s in %s"
                            .formatted(offset, offset + length, dtype, buffer));
        }
    }

    /// All of a buffer.
    public static Span of(DeviceBuffer buffer, DType dtype) {
        return new Span(buffer, 0, buffer.bytes() / dtype.bytes(), dtype);
    }

    /// The first element's address in the device's address space.
    public long address() {
        return buffer.address() + offset * dtype.bytes();
    }

    /// The size in bytes.
    public long bytes() {
        return length * dtype.bytes();
    }

    /// The device that holds the elements.
    public Device device() {
        return buffer.device();
    }

    /// Elements `from` to `from + count` of this span.
    public Span slice(long from, long count) {
        if (from < 0 || count < 0 || from + count > length) {
            throw new IndexOutOfBoundsException(
                    "elements %d to %d of a span of %d".formatted(from, from + count, length));
        }
        return new Span(buffer, offset + from, count, dtype);
    }

    /// Checks an operand where a kernel takes it: this span's type is `expected` and it holds at
    /// least `elements` elements.
    ///
    /// @return this span's address
    /// @throws IllegalArgumentException naming the operand otherwise
    public long require(String operand, DType expected, long elements) {
        if (dtype != expected) {
            throw new IllegalArgumentException(
                    "%s is %s, expected %s".formatted(operand, dtype, expected));
        }
        if (length < elements) {
            throw new IllegalArgumentException(
                    "%s holds %d elements, expected at least %d"
                            .formatted(operand, length, elements));
        }
        return address();
    }
}
