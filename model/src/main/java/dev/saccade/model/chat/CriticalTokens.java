package dev.saccade.model.chat;

import dev.saccade.model.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// Finds the tokens that open a turn of reasoning: "Wait", "Alternatively", "Hmm" (Skywork-R1V3
/// report, sections 5.1 and 6.2).
///
/// A word is looked for in the text that the tokens spell, as a whole word, in upper or lower case,
/// whatever stands before and after it. So every way in which a tokenizer may cut it is found:
/// "Wait", " wait", "Wait," as one token, or a word in several tokens. What counts is the token
/// with the word's first letter: there the model chose the word. "await" and "waiting" are other
/// words. Where several of the words begin at one place, the longest is meant.
///
/// Safe to use from several threads; what it finds never changes.
public final class CriticalTokens {
    /// The words that the report names.
    public static final List<String> DEFAULT_WORDS = List.of("Wait", "Alternatively", "Hmm");

    /// The longer list of Wang et al. (2506.08343), who suppress these words.
    public static final List<String> LONG_LIST =
            List.of(
                    "Wait",
                    "Alternatively",
                    "Hmm",
                    "But",
                    "However",
                    "Alternative",
                    "Another",
                    "Check",
                    "Double-check",
                    "Oh",
                    "Maybe",
                    "Verify",
                    "Other",
                    "Again",
                    "Now",
                    "Ah",
                    "Any");

    /// What a word may stand behind in one token with it.
    private static final List<String> OPENERS = List.of("", " ", "\n", "(", "\"", "\u201c", "*");

    private final List<String> words;
    private final Tokenizer tokenizer;
    private final Pattern pattern;
    private final ConcurrentHashMap<Integer, byte[]> bytesOfId = new ConcurrentHashMap<>();

    /// Filled when first asked for: the whole vocabulary is walked. Computed twice it is the same.
    private volatile int @Nullable [] firstTokens;

    private CriticalTokens(List<String> words, Tokenizer tokenizer) {
        this.words = words;
        this.tokenizer = tokenizer;
        this.pattern =
                Pattern.compile(
                        words.stream()
                                .sorted(Comparator.comparingInt(String::length).reversed())
                                .map(CriticalTokens::wholeWord)
                                .collect(Collectors.joining("|")),
                        Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE);
    }

    /// The critical tokens of a list of words.
    ///
    /// @param words at least one, none blank
    /// @param tokenizer what the tokens are of
    public static CriticalTokens of(List<String> words, Tokenizer tokenizer) {
        if (words.isEmpty() || words.stream().anyMatch(String::isBlank)) {
            throw new IllegalArgumentException("critical words " + words);
        }
        return new CriticalTokens(words.stream().map(String::strip).toList(), tokenizer);
    }

    /// The words.
    public List<String> words() {
        return words;
    }

    /// Which tokens are critical.
    ///
    /// @param tokens a response's token ids
    public boolean[] mark(int[] tokens) {
        boolean[] marks = new boolean[tokens.length];
        Spelling spelling = spell(tokens);
        Matcher matcher = pattern.matcher(spelling.text);
        while (matcher.find()) {
            marks[spelling.tokenOf[matcher.start()]] = true;
        }
        return marks;
    }

    /// The tokens of the vocabulary that hold one of the words, as a whole word in their own text,
    /// in ascending order: what NoWait bans. A word that the vocabulary spells in several tokens
    /// only has none.
    public int[] forms() {
        return IntStream.range(0, tokenizer.size())
                .filter(id -> !tokenizer.isSpecial(id))
                .filter(id -> pattern.matcher(tokenizer.decode(new int[] {id})).find())
                .toArray();
    }

    /// The tokens that open one of the words, in ascending order: the [#forms()], and of words that
    /// the tokenizer cuts the token with the first letter. Words are tried in lower and upper case,
    /// with a capital and as they are given, at the start of a line, behind a blank and behind
    /// marks that open something.
    ///
    /// The probability of these tokens at a position is about that of a word's beginning there; it
    /// is more by what other words begin with the same token ("alternating" as "alternatively"). A
    /// token that holds only one character of a longer word says nothing about it, as "H" of "Hmm",
    /// and is not among them.
    public int[] firstTokens() {
        int[] found = firstTokens;
        if (found == null) {
            found =
                    IntStream.concat(
                                    Arrays.stream(forms()),
                                    words.stream()
                                            .flatMap(CriticalTokens::spellings)
                                            .flatMapToInt(this::openings))
                            .distinct()
                            .sorted()
                            .toArray();
            firstTokens = found;
        }
        return found.clone();
    }

    private static Stream<String> spellings(String word) {
        String lower = word.toLowerCase(Locale.ROOT);
        String first = word.substring(0, word.offsetByCodePoints(0, 1));
        String capital =
                first.toUpperCase(Locale.ROOT)
                        + word.substring(first.length()).toLowerCase(Locale.ROOT);
        return Stream.of(word, lower, capital, word.toUpperCase(Locale.ROOT))
                .flatMap(spelling -> OPENERS.stream().map(opener -> opener + spelling));
    }

    /// The token that opens the word in a text, if it holds enough of it.
    private IntStream openings(String text) {
        int[] tokens = tokenizer.encode(text);
        Spelling spelling = spell(tokens);
        Matcher matcher = pattern.matcher(spelling.text);
        if (!matcher.find()) {
            return IntStream.empty();
        }
        int token = spelling.tokenOf[matcher.start()];
        int end = matcher.start();
        while (end < matcher.end() && spelling.tokenOf[end] == token) {
            end++;
        }
        int held = Character.codePointCount(spelling.text, matcher.start(), end);
        boolean enough = held > 1 || end == matcher.end();
        return enough ? IntStream.of(tokens[token]) : IntStream.empty();
    }

    /// Writing systems without spaces between words have no whole words to ask for.
    private static String wholeWord(String word) {
        String before = isLetterOfSpacedWord(word.codePointAt(0)) ? "(?<![\\p{L}\\p{N}_])" : "";
        String after =
                isLetterOfSpacedWord(word.codePointBefore(word.length()))
                        ? "(?![\\p{L}\\p{N}_])"
                        : "";
        return before + Pattern.quote(word) + after;
    }

    private static boolean isLetterOfSpacedWord(int codePoint) {
        return switch (Character.UnicodeScript.of(codePoint)) {
            case HAN, HIRAGANA, KATAKANA, THAI, LAO, KHMER, MYANMAR -> false;
            default -> Character.isLetterOrDigit(codePoint);
        };
    }

    /// The text of tokens, and the token that each of its characters begins in.
    private static final class Spelling {
        private final StringBuilder text = new StringBuilder();
        private int[] tokenOf = new int[64];

        void append(int codePoint, int token) {
            text.appendCodePoint(codePoint);
            if (text.length() > tokenOf.length) {
                tokenOf = Arrays.copyOf(tokenOf, 2 * tokenOf.length);
            }
            Arrays.fill(
                    tokenOf, text.length() - Character.charCount(codePoint), text.length(), token);
        }
    }

    private Spelling spell(int[] tokens) {
        Spelling spelling = new Spelling();
        @Nullable Utf8 pending = null;
        for (int t = 0; t < tokens.length; t++) {
            for (byte value : bytesOfId.computeIfAbsent(tokens[t], tokenizer::bytes)) {
                int unsigned = value & 0xff;
                if (pending != null && (unsigned & 0xc0) == 0x80) {
                    pending = pending.followedBy(unsigned);
                    if (pending.missing == 0) {
                        spelling.append(pending.valid(), pending.token);
                        pending = null;
                    }
                    continue;
                }
                if (pending != null) {
                    spelling.append(Utf8.REPLACEMENT, pending.token);
                    pending = null;
                }
                if (unsigned < 0x80) {
                    spelling.append(unsigned, t);
                } else if (unsigned >= 0xc2 && unsigned < 0xf5) {
                    int missing = unsigned < 0xe0 ? 1 : unsigned < 0xf0 ? 2 : 3;
                    pending = new Utf8(t, unsigned & (0x3f >> missing), missing);
                } else {
                    spelling.append(Utf8.REPLACEMENT, t);
                }
            }
        }
        return spelling;
    }

    /// A character whose bytes are not complete: they may come from several tokens.
    ///
    /// @param token the token of its first byte
    /// @param codePoint its bits so far
    /// @param missing how many bytes are to come
    private record Utf8(int token, int codePoint, int missing) {
        static final int REPLACEMENT = 0xfffd;

        Utf8 followedBy(int unsigned) {
            return new Utf8(token, codePoint << 6 | (unsigned & 0x3f), missing - 1);
        }

        int valid() {
            return Character.isValidCodePoint(codePoint) ? codePoint : REPLACEMENT;
        }
    }
}
