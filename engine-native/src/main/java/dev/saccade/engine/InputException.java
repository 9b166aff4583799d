package dev.saccade.engine;

/// Bad input: a file, an option, a row or a checkpoint that can't be used as it is. The message is
/// one line, `<what>: <why>; <what to do>`, for the person who gave the input; the command line
/// prints it after `saccade: ` and exits with status 2.
public final class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /// @param what the file and the place in it, the option, the key
    /// @param why what is wrong with it
    /// @param cure what to do about it
    public InputException(String what, String why, String cure) {
        super(line(what, why, cure));
    }

    /// As [#InputException(String, String, String)], keeping the cause for `--debug`.
    public InputException(String what, String why, String cure, Throwable cause) {
        super(line(what, why, cure), cause);
    }

    /// One line, whatever names from a file are in it.
    private static String line(String what, String why, String cure) {
        return (what + ": " + why + "; " + cure).replaceAll("\\p{Cntrl}", "?");
    }
}
