package dev.saccade.model.tokenizer;

import dev.saccade.engine.InputException;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Cuts text into the pieces within which BPE merges.
sealed interface PreTokenizer {

    /// Receives the pieces in order: `text[begin, end)`, not empty.
    interface Pieces {
        void piece(String text, int begin, int end);
    }

    /// Cuts `text[begin, end)`.
    void split(String text, int begin, int end, Pieces pieces);

    /// The whole text is one piece.
    record Whole() implements PreTokenizer {
        @Override
        public void split(String text, int begin, int end, Pieces pieces) {
            if (begin < end) {
                pieces.piece(text, begin, end);
            }
        }
    }

    /// Puts a space before text that does not begin with one.
    record PrefixSpace() implements PreTokenizer {
        @Override
        public void split(String text, int begin, int end, Pieces pieces) {
            if (begin < end && text.charAt(begin) != ' ') {
                String prefixed = " " + text.substring(begin, end);
                pieces.piece(prefixed, 0, prefixed.length());
            } else if (begin < end) {
                pieces.piece(text, begin, end);
            }
        }
    }

    /// Each match of the pattern is a piece, and so is what lies between two matches (behaviour
    /// `Isolated`). A pattern may be made so that it takes time without end, or nests without end,
    /// on some text: it is given up after a number of looks at the text that no useful one needs.
    record Regex(Pattern pattern) implements PreTokenizer {
        private static final long LOOKS_PER_CHARACTER = 1000;
        private static final long FIXED_LOOKS = 1_000_000;

        /// The pattern of GPT-2's pre-tokenizer, which `ByteLevel` with `use_regex` means.
        static final Regex GPT2 =
                new Regex(
                        compile(
                                "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"
                                        + " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"));

        private boolean find(Matcher matcher) {
            try {
                return matcher.find();
            } catch (TooManyLooks | StackOverflowError e) {
                throw new InputException(
                        "tokenizer.json: the pre-tokenizer's pattern " + pattern,
                        "takes too long on this text",
                        "use the tokenizer.json of a byte-level BPE model such as Qwen2.5",
                        e);
            }
        }

        /// Compiles with Unicode classes, as Oniguruma has them for `\s` and case.
        static Pattern compile(String regex) {
            return Pattern.compile(regex, Pattern.UNICODE_CHARACTER_CLASS);
        }

        @Override
        public void split(String text, int begin, int end, Pieces pieces) {
            long looks = FIXED_LOOKS + LOOKS_PER_CHARACTER * (end - begin);
            Matcher matcher = pattern.matcher(new Counted(text, looks)).region(begin, end);
            int done = begin;
            while (find(matcher)) {
                if (matcher.end() == matcher.start()) {
                    continue;
                }
                if (matcher.start() > done) {
                    pieces.piece(text, done, matcher.start());
                }
                pieces.piece(text, matcher.start(), matcher.end());
                done = matcher.end();
            }
            if (done < end) {
                pieces.piece(text, done, end);
            }
        }
    }

    /// A text that may be looked at so many times.
    final class Counted implements CharSequence {
        private final String text;
        private long looks;

        Counted(String text, long looks) {
            this.text = text;
            this.looks = looks;
        }

        @Override
        public char charAt(int index) {
            if (--looks < 0) {
                throw new TooManyLooks();
            }
            return text.charAt(index);
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public CharSequence subSequence(int begin, int end) {
            return text.subSequence(begin, end);
        }

        @Override
        public String toString() {
            return text;
        }
    }

    /// A [Counted] text was looked at too often.
    final class TooManyLooks extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    /// What [#PATTERN] matches, found by one walk over the characters instead of a regex engine.
    record Qwen2() implements PreTokenizer {
        /// The pattern of Qwen2's `tokenizer.json`.
        static final String PATTERN =
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                        + " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

        @Override
        public void split(String text, int begin, int end, Pieces pieces) {
            int position = begin;
            while (position < end) {
                int next = endOfPiece(text, position, end);
                pieces.piece(text, position, next);
                position = next;
            }
        }

        private static int endOfPiece(String text, int begin, int end) {
            int first = codePoint(text, begin, end);
            if (first == '\'') {
                int contraction = contraction(text, begin + 1, end);
                if (contraction > 0) {
                    return begin + 1 + contraction;
                }
            }
            int second = begin + Character.charCount(first);
            byte firstClass = CharacterClass.of(first);
            if (firstClass == CharacterClass.LETTER) {
                return endOfRun(text, second, end, CharacterClass.LETTER);
            }
            if (firstClass == CharacterClass.NUMBER) {
                return second;
            }
            byte secondClass =
                    second < end
                            ? CharacterClass.of(codePoint(text, second, end))
                            : CharacterClass.SPACE;
            if (firstClass != CharacterClass.NEWLINE && secondClass == CharacterClass.LETTER) {
                return endOfRun(text, second, end, CharacterClass.LETTER);
            }
            if (firstClass == CharacterClass.OTHER
                    || (first == ' ' && secondClass == CharacterClass.OTHER)) {
                int marks = endOfRun(text, second, end, CharacterClass.OTHER);
                return endOfRun(text, marks, end, CharacterClass.NEWLINE);
            }
            return endOfWhiteSpace(text, begin, end);
        }

        /// White space up to its last line break; without one, all of it but the last character
        /// where something follows that can take that character.
        private static int endOfWhiteSpace(String text, int begin, int end) {
            int lastBreak = -1;
            int position = begin;
            while (position < end) {
                byte type = CharacterClass.of(text.charAt(position));
                if (type == CharacterClass.NEWLINE) {
                    lastBreak = position;
                } else if (type != CharacterClass.SPACE) {
                    break;
                }
                position++;
            }
            if (lastBreak >= 0) {
                return lastBreak + 1;
            }
            return position == end || position - begin == 1 ? position : position - 1;
        }

        private static int endOfRun(String text, int begin, int end, byte type) {
            int position = begin;
            while (position < end) {
                int codePoint = codePoint(text, position, end);
                if (CharacterClass.of(codePoint) != type) {
                    break;
                }
                position += Character.charCount(codePoint);
            }
            return position;
        }

        /// The length of an English contraction's letters at `begin`, or 0.
        private static int contraction(String text, int begin, int end) {
            if (begin >= end) {
                return 0;
            }
            char first = fold(text.charAt(begin));
            if (first == 's' || first == 't' || first == 'm' || first == 'd') {
                return 1;
            }
            if (begin + 1 >= end) {
                return 0;
            }
            char second = fold(text.charAt(begin + 1));
            return ((first == 'r' || first == 'v') && second == 'e')
                            || (first == 'l' && second == 'l')
                    ? 2
                    : 0;
        }

        private static char fold(char character) {
            return Character.toLowerCase(Character.toUpperCase(character));
        }

        private static int codePoint(String text, int position, int end) {
            char high = text.charAt(position);
            if (Character.isHighSurrogate(high) && position + 1 < end) {
                char low = text.charAt(position + 1);
                if (Character.isLowSurrogate(low)) {
                    return Character.toCodePoint(high, low);
                }
            }
            return high;
        }
    }

    /// One after the other, each on the pieces of the one before.
    record Sequence(List<PreTokenizer> steps) implements PreTokenizer {
        @Override
        public void split(String text, int begin, int end, Pieces pieces) {
            split(0, text, begin, end, pieces);
        }

        private void split(int step, String text, int begin, int end, Pieces pieces) {
            if (step == steps.size()) {
                pieces.piece(text, begin, end);
                return;
            }
            steps.get(step).split(text, begin, end, (t, b, e) -> split(step + 1, t, b, e, pieces));
        }
    }
}
