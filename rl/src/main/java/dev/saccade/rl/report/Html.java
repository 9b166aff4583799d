package dev.saccade.rl.report;

/// Writes HTML and SVG. Whatever comes from a run passes through [#escape(String)]: texts and
/// attributes are always escaped, and only [#raw(String)] is not.
final class Html {
    private final StringBuilder out = new StringBuilder();

    /// A start tag.
    ///
    /// @param attributes names and values by turns
    Html open(String tag, Object... attributes) {
        out.append('<').append(tag);
        for (int i = 0; i < attributes.length; i += 2) {
            out.append(' ').append(attributes[i]).append("=\"");
            out.append(escape(String.valueOf(attributes[i + 1]))).append('"');
        }
        out.append('>');
        return this;
    }

    /// An end tag.
    Html close(String tag) {
        out.append("</").append(tag).append('>');
        return this;
    }

    /// End tags, innermost first.
    Html close(String first, String... more) {
        close(first);
        for (String tag : more) {
            close(tag);
        }
        return this;
    }

    /// An element without content; `<path .../>` in SVG.
    Html empty(String tag, Object... attributes) {
        open(tag, attributes);
        out.insert(out.length() - 1, '/');
        return this;
    }

    /// An element with a text.
    Html element(String tag, String text, Object... attributes) {
        return open(tag, attributes).text(text).close(tag);
    }

    /// Text.
    Html text(String text) {
        out.append(escape(text));
        return this;
    }

    /// Markup of the report's own.
    Html raw(String markup) {
        out.append(markup);
        return this;
    }

    /// Markup that was built apart.
    Html add(Html other) {
        out.append(other.out);
        return this;
    }

    boolean isEmpty() {
        return out.isEmpty();
    }

    @Override
    public String toString() {
        return out.toString();
    }

    /// A text without anything that HTML would take for markup, or could not hold: control
    /// characters and halves of surrogate pairs become U+FFFD.
    static String escape(String text) {
        StringBuilder escaped = new StringBuilder(text.length() + 16);
        text.codePoints()
                .forEach(codePoint -> {
                    switch (codePoint) {
                        case '&' -> escaped.append("&amp;");
                        case '<' -> escaped.append("&lt;");
                        case '>' -> escaped.append("&gt;");
                        case '"' -> escaped.append("&quot;");
                        case '\'' -> escaped.append("&#39;");
                        case '\n', '\t' -> escaped.append((char) codePoint);
                        default -> escaped.appendCodePoint(representable(codePoint));
                    }
                });
        return escaped.toString();
    }

    private static int representable(int codePoint) {
        return switch (Character.getType(codePoint)) {
            // Direction overrides could show a text other than it is.
            case Character.CONTROL, Character.SURROGATE, Character.FORMAT -> 0xfffd;
            default -> codePoint;
        };
    }
}
