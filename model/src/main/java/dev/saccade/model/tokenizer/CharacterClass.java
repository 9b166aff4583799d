package dev.saccade.model.tokenizer;

import java.util.regex.Pattern;

/// The classes of characters that pre-tokenizer patterns tell apart.
final class CharacterClass {
    /// `\p{L}`
    static final byte LETTER = 0;

    /// `\p{N}`
    static final byte NUMBER = 1;

    /// `\s` without line feed and carriage return
    static final byte SPACE = 2;

    /// Line feed, carriage return.
    static final byte NEWLINE = 3;

    /// The rest.
    static final byte OTHER = 4;

    private static final Pattern WHITE_SPACE =
            Pattern.compile("\\s", Pattern.UNICODE_CHARACTER_CLASS);

    private static final byte[] BASIC_PLANE = new byte[0x10000];

    static {
        for (int codePoint = 0; codePoint < BASIC_PLANE.length; codePoint++) {
            BASIC_PLANE[codePoint] = classify(codePoint);
        }
    }

    private CharacterClass() {}

    static byte of(int codePoint) {
        return codePoint < BASIC_PLANE.length ? BASIC_PLANE[codePoint] : classify(codePoint);
    }

    private static byte classify(int codePoint) {
        if (codePoint == '\n' || codePoint == '\r') {
            return NEWLINE;
        }
        return switch (Character.getType(codePoint)) {
            case Character.UPPERCASE_LETTER,
                    Character.LOWERCASE_LETTER,
                    Character.TITLECASE_LETTER,
                    Character.MODIFIER_LETTER,
                    Character.OTHER_LETTER ->
                    LETTER;
            case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER ->
                    NUMBER;
            // White space is only among these.
            case Character.CONTROL,
                    Character.SPACE_SEPARATOR,
                    Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR ->
                    WHITE_SPACE.matcher(Character.toString(codePoint)).matches() ? SPACE : OTHER;
            default -> OTHER;
        };
    }
}
