package dev.saccade.model.image;

import dev.saccade.engine.InputException;
import java.util.Arrays;

/// The bytes of a picture's file, read with bounds: what lies beyond their end is a file cut off.
///
/// @param bytes the whole file
/// @param name what messages call it
@SuppressWarnings("ArrayRecordComponent") // read as it is, never compared
record ImageBytes(byte[] bytes, String name) {
    private static final String AGAIN = "fetch or make the file again";

    int length() {
        return bytes.length;
    }

    int u8(int at) {
        require(at, 1);
        return bytes[at] & 0xff;
    }

    int u16BigEndian(int at) {
        return u8(at) << 8 | u8(at + 1);
    }

    int u16LittleEndian(int at) {
        return u8(at) | u8(at + 1) << 8;
    }

    int u24LittleEndian(int at) {
        return u16LittleEndian(at) | u8(at + 2) << 16;
    }

    long u32BigEndian(int at) {
        return (long) u16BigEndian(at) << 16 | u16BigEndian(at + 2);
    }

    long u32LittleEndian(int at) {
        return u16LittleEndian(at) | (long) u16LittleEndian(at + 2) << 16;
    }

    /// Whether the file has these characters at `at`.
    boolean has(int at, String ascii) {
        if (at + ascii.length() > bytes.length) {
            return false;
        }
        for (int i = 0; i < ascii.length(); i++) {
            if ((bytes[at + i] & 0xff) != ascii.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    byte[] slice(int begin, int end) {
        return Arrays.copyOfRange(bytes, begin, end);
    }

    /// Refuses a file that ends before `at + count`.
    void require(int at, long count) {
        if (at < 0 || at + count > bytes.length) {
            throw cutOff();
        }
    }

    InputException cutOff() {
        return new InputException(
                name, "is damaged or cut off (it ends at byte %d)".formatted(bytes.length), AGAIN);
    }

    InputException damaged(int at, String why) {
        return new InputException(
                name, "is damaged or cut off (at byte %d: %s)".formatted(at, why), AGAIN);
    }

    /// What a decoder says of it.
    InputException damaged(Exception cause) {
        String message = cause.getMessage();
        String why = message == null ? cause.toString() : message.lines().findFirst().orElse("");
        return new InputException(name, "is damaged or cut off (%s)".formatted(why), AGAIN, cause);
    }

    /// A picture of a size that so few bytes can't hold.
    InputException tooShort(int width, int height) {
        return new InputException(
                name,
                "is damaged or cut off (%d bytes can't hold %dx%d pixels)"
                        .formatted(bytes.length, width, height),
                AGAIN);
    }

    /// What no decoder here can read.
    InputException unsupported(String why) {
        return new InputException(name, why, "convert it to an RGB PNG");
    }
}
