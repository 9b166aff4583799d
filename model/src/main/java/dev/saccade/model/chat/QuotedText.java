package dev.saccade.model.chat;

/// Text between quotation marks in Python and in Jinja.
final class QuotedText {
    private QuotedText() {}

    /// The place of the mark that closes the text opened at `begin`; the last character's where
    /// nothing closes it.
    static int end(String code, int begin) {
        char mark = code.charAt(begin);
        for (int at = begin + 1; at < code.length(); at++) {
            if (code.charAt(at) == '\\') {
                at++;
            } else if (code.charAt(at) == mark) {
                return at;
            }
        }
        return Math.max(begin + 1, code.length() - 1);
    }

    /// What stands between the marks, with its escapes as what they mean.
    static String unescape(String inner) {
        StringBuilder text = new StringBuilder(inner.length());
        for (int at = 0; at < inner.length(); at++) {
            char c = inner.charAt(at);
            if (c != '\\' || at + 1 == inner.length()) {
                text.append(c);
                continue;
            }
            char escaped = inner.charAt(++at);
            switch (escaped) {
                case 'n' -> text.append('\n');
                case 't' -> text.append('\t');
                case 'r' -> text.append('\r');
                case '\\', '\'', '"' -> text.append(escaped);
                default -> text.append('\\').append(escaped);
            }
        }
        return text.toString();
    }

    /// A text in single quotation marks.
    static String quote(String text) {
        return "'"
                + text.replace("\\", "\\\\")
                        .replace("'", "\\'")
                        .replace("\n", "\\n")
                        .replace("\r", "\\r")
                        .replace("\t", "\\t")
                + "'";
    }
}
