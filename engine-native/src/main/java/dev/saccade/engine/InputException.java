package dev.saccade.engine;

import java.util.Locale;

/// Bad input: a file, an option, a row or a checkpoint that can't be used as it is. The message is
/// one line, `<what>: <why>; <what to do>`, for the person who gave the input; the command line
/// prints it after `saccade: ` and exits with status 2. Control characters, which names from a
/// damaged file may hold, are written as escapes, so that it is one line whatever the file says.
public final class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /// @param what the file and the place in it, the option, the key
    /// @param why what is wrong with it
    /// @param cure what to do about it
    public InputException(String what, String why, String cure) {
        super(line(what + ": " + why + "; " + cure));
    }

    /// As [#InputException(String, String, String)], keeping the cause for `--debug`.
    public InputException(String what, String why, String cure, Throwable cause) {
        super(line(what + ": " + why + "; " + cure), cause);
    }

    private static String line(String text) {
        if (text.chars().noneMatch(InputException::breaksLine)) {
            return text;
        }
        StringBuilder line = new StringBuilder(text.length() + 16);
        text.chars()
                .forEach(character -> {
                    if (breaksLine(character)) {
                        line.append(String.format(Locale.ROOT, "\\u%04x", character));
                    } else {
                        line.append((char) character);
                    }
                });
        return line.toString();
    }

    /// Control characters, and Unicode's separators of lines and paragraphs.
    private static boolean breaksLine(int character) {
        return Character.isISOControl(character) || character == 0x2028 || character == 0x2029;
    }
}
