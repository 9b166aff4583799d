package dev.saccade.model.tokenizer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// The spelling of bytes in a byte-level vocabulary: each byte has one printable character, so that
/// a token of any bytes can be written in JSON. Bytes that are printable in Latin-1 (33..126,
/// 161..172, 174..255) stand for themselves, the others take the characters from 256 on, in order.
/// A space is written `Ġ`, a line feed `Ċ`.
final class ByteLevel {
    private static final char[] CHARACTER_OF_BYTE = new char[256];
    private static final short[] BYTE_OF_CHARACTER = new short[512];

    static {
        Arrays.fill(BYTE_OF_CHARACTER, (short) -1);
        char next = 256;
        for (int value = 0; value < 256; value++) {
            boolean printable =
                    (value >= 33 && value <= 126) || (value >= 161 && value <= 172) || value >= 174;
            char character = printable ? (char) value : next++;
            CHARACTER_OF_BYTE[value] = character;
            BYTE_OF_CHARACTER[character] = (short) value;
        }
    }

    private ByteLevel() {}

    /// The character that stands for a byte (0..255).
    static char character(int value) {
        return CHARACTER_OF_BYTE[value];
    }

    /// The byte that a character stands for, or -1.
    static int value(char character) {
        return character < BYTE_OF_CHARACTER.length ? BYTE_OF_CHARACTER[character] : -1;
    }

    /// Text as a vocabulary spells it.
    static String spell(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        StringBuilder spelled = new StringBuilder(bytes.length);
        for (byte value : bytes) {
            spelled.append(character(value & 0xff));
        }
        return spelled.toString();
    }

    /// The bytes of a spelled token; a token with a character that stands for no byte is taken as
    /// plain text.
    static byte[] bytes(String spelled) {
        byte[] bytes = new byte[spelled.length()];
        for (int i = 0; i < bytes.length; i++) {
            int value = value(spelled.charAt(i));
            if (value < 0) {
                return spelled.getBytes(StandardCharsets.UTF_8);
            }
            bytes[i] = (byte) value;
        }
        return bytes;
    }
}
