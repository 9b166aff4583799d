package dev.saccade.rl.reward;

import java.text.Normalizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// The spelling of answers: takes away what LaTeX and Unicode add to the same thing.
final class AnswerText {
    /// Longer answers are compared as they are.
    static final int LONGEST = 2048;

    private static final String SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    private static final Pattern UNWRAPPED =
            Pattern.compile(
                    "\\\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|mbox)"
                            + "\\s*\\{([^{}]*)\\}");
    private static final Pattern IGNORED =
            Pattern.compile("\\\\(?:left|right|displaystyle|big|Big)(?![A-Za-z])|\\\\!");
    private static final Pattern THIN_SPACE_IN_NUMBER =
            Pattern.compile("(?<=\\d)(?:\\\\[,;: ]|[\\u2009\\u202f\\u00a0~])(?=\\d{3}(?!\\d))");
    private static final Pattern SPACE_COMMAND = Pattern.compile("\\\\(?:[,;: ]|quad|qquad)|~");
    private static final Pattern DEGREES = Pattern.compile("\\^?\\{?(?:\\\\circ|°)\\}?");
    private static final Pattern BLANKS = Pattern.compile("\\s+");
    private static final Pattern GROUPED_SINGLE = Pattern.compile("\\{(\\w)\\}");
    private static final Pattern FORMULA = Pattern.compile("[\\\\^_=+*<>]");

    private AnswerText() {}

    /// The answer in plain characters, blanks single, without what only decorates it.
    static String clean(String raw) {
        String text = plainCharacters(raw);
        text = IGNORED.matcher(text).replaceAll("");
        text = text.replace("{,}", ",");
        text = THIN_SPACE_IN_NUMBER.matcher(text).replaceAll("");
        text = SPACE_COMMAND.matcher(text).replaceAll(" ");
        text = DEGREES.matcher(text).replaceAll(" degrees ");
        text =
                UNWRAPPED
                        .matcher(text)
                        .replaceAll(match -> Matcher.quoteReplacement(" " + match.group(1) + " "));
        text =
                text.replace("\\dfrac", "\\frac")
                        .replace("\\tfrac", "\\frac")
                        .replace("\\cfrac", "\\frac")
                        .replace("\\%", "%")
                        .replace("\\lbrace", "{")
                        .replace("\\rbrace", "}")
                        .replace("\\{", "{")
                        .replace("\\}", "}")
                        .replace("\\times", "*")
                        .replace("\\cdot", "*");
        text = withoutDelimiters(BLANKS.matcher(text).replaceAll(" ").strip());
        return text.replace("\\$", "$").strip();
    }

    private static String plainCharacters(String raw) {
        StringBuilder plain = new StringBuilder(raw.length());
        for (int i = 0; i < raw.length(); i++) {
            char character = raw.charAt(i);
            int power = SUPERSCRIPTS.indexOf(character);
            if (power >= 0) {
                plain.append('^').append(power);
            } else {
                switch (character) {
                    case '½',
                            '⅓',
                            '⅔',
                            '¼',
                            '¾',
                            '⅕',
                            '⅖',
                            '⅗',
                            '⅘',
                            '⅙',
                            '⅚',
                            '⅛',
                            '⅜',
                            '⅝',
                            '⅞' ->
                            plain.append(' ').append(character);
                    case '\u2212', '\u2013', '\u2012' -> plain.append('-');
                    case '\u201c', '\u201d' -> plain.append('"');
                    case '\u2018', '\u2019' -> plain.append('\'');
                    case '×', '·' -> plain.append('*');
                    // Its compatibility form is a blank and a small circle.
                    case 'º' -> plain.append('°');
                    default -> plain.append(character);
                }
            }
        }
        return Normalizer.normalize(plain, Normalizer.Form.NFKC).replace('\u2044', '/');
    }

    /// Takes away mathematics delimiters, emphasis and quotation marks around the whole, and
    /// punctuation at its end.
    private static String withoutDelimiters(String text) {
        String inner = text;
        String before;
        do {
            before = inner;
            inner = unwrap(inner, "$$", "$$");
            inner = unwrap(inner, "$", "$");
            inner = unwrap(inner, "\\(", "\\)");
            inner = unwrap(inner, "\\[", "\\]");
            inner = unwrap(inner, "**", "**");
            inner = unwrap(inner, "\"", "\"");
            inner = unwrap(inner, "'", "'");
            inner = unwrap(inner, "`", "`");
            int end = inner.length();
            while (end > 0 && ".,;!".indexOf(inner.charAt(end - 1)) >= 0) {
                end--;
            }
            inner = inner.substring(0, end).strip();
        } while (!inner.equals(before));
        return inner;
    }

    private static String unwrap(String text, String open, String close) {
        int inside = text.length() - open.length() - close.length();
        // An escaped closing sign belongs to the answer, and so does a pair that only looks like
        // one.
        if (inside <= 0
                || !text.startsWith(open)
                || !text.endsWith(close)
                || text.charAt(text.length() - close.length() - 1) == '\\'
                || text.substring(open.length(), open.length() + inside).contains(close)) {
            return text;
        }
        return text.substring(open.length(), open.length() + inside).strip();
    }

    /// A cleaned answer in the form in which texts are compared.
    static String normal(String clean) {
        String text = clean.toLowerCase(Locale.ROOT);
        if (FORMULA.matcher(text).find()) {
            text = GROUPED_SINGLE.matcher(text.replace(" ", "")).replaceAll("$1");
        }
        return text;
    }

    /// Splits at the commas or semicolons that are outside of brackets. A comma between a digit and
    /// exactly three others without a blank is a separator as well: inside brackets, and beside
    /// other commas, `1,234` is two numbers.
    ///
    /// @return null when the brackets don't match
    static @Nullable List<String> split(String text) {
        List<String> parts = new ArrayList<>();
        StringBuilder expected = new StringBuilder();
        int begin = 0;
        for (int at = 0; at < text.length(); at++) {
            char character = text.charAt(at);
            switch (character) {
                case '(', '[' -> expected.append(')');
                case '{' -> expected.append('}');
                case ')', ']', '}' -> {
                    char kind = character == ']' ? ')' : character;
                    int last = expected.length() - 1;
                    if (last < 0 || expected.charAt(last) != kind) {
                        return null;
                    }
                    expected.setLength(last);
                }
                case ',', ';' -> {
                    if (expected.isEmpty()) {
                        parts.add(text.substring(begin, at));
                        begin = at + 1;
                    }
                }
                default -> {}
            }
        }
        if (!expected.isEmpty()) {
            return null;
        }
        parts.add(text.substring(begin));
        return parts;
    }
}
