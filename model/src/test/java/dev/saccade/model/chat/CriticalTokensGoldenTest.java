package dev.saccade.model.chat;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.model.SharedData;
import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Critical tokens in Qwen2.5's own vocabulary, where its files lie beside the repository. The ids
/// are those of its tokenizer.json.
final class CriticalTokensGoldenTest {
    private static final String NAME = "qwen2.5-tokenizer";

    private Path folder = Path.of("");
    private Tokenizer qwen = TinyVocabulary.tokenizer(List.of());

    @BeforeEach
    void read() throws IOException {
        folder = SharedData.require(NAME);
        try (InputStream file =
                new GZIPInputStream(Files.newInputStream(folder.resolve("tokenizer.json.gz")))) {
            qwen =
                    Tokenizer.parse(
                            new String(file.readAllBytes(), StandardCharsets.UTF_8),
                            "tokenizer.json.gz");
        }
    }

    private CriticalTokens critical(List<String> words) {
        return CriticalTokens.of(words, qwen);
    }

    /// The tokens that are marked in a text, as text.
    private List<String> marked(List<String> words, String text) {
        int[] tokens = qwen.encode(text);
        boolean[] marks = critical(words).mark(tokens);
        return IntStream.range(0, tokens.length)
                .filter(t -> marks[t])
                .mapToObj(t -> qwen.token(tokens[t]))
                .toList();
    }

    @Test
    void theFormsOfTheReportsWordsAreTheirTokens() {
        int[] wait = {3783, 11489, 13824, 14190, 54390, 71032};
        int[] afterMarks = {16294, 28384, 48750, 64092, 86103};
        int[] alternatively = {38478, 68387, 92014};
        int[] hmm = {80022, 87501, 88190};
        int[] all =
                Stream.of(wait, afterMarks, alternatively, hmm)
                        .flatMapToInt(Arrays::stream)
                        .sorted()
                        .toArray();
        assertThat(critical(CriticalTokens.DEFAULT_WORDS).forms()).isEqualTo(all);
        assertThat(qwen.decode(new int[] {18760})).isEqualTo("_wait");
    }

    /// What may open a word: its forms, and of spellings that are cut the first piece, if it is
    /// more than a letter.
    @Test
    void firstTokensHoldTheBeginningOfAWord() {
        CriticalTokens critical = critical(CriticalTokens.LONG_LIST);
        List<String> lower =
                CriticalTokens.LONG_LIST.stream()
                        .map(word -> word.toLowerCase(Locale.ROOT))
                        .toList();
        int[] first = critical.firstTokens();
        assertThat(first).contains(critical.forms()).isSorted().doesNotHaveDuplicates();
        // "Double-check" is no token in any spelling: " Double" and "double" open it.
        assertThat(Arrays.stream(first).mapToObj(qwen::token))
                .contains(" Double", "double", " But", "But", "Another");
        for (int id : first) {
            String letters =
                    qwen.decode(new int[] {id})
                            .toLowerCase(Locale.ROOT)
                            .replaceFirst("^[^\\p{L}]+", "")
                            .replaceFirst("[^\\p{L}-]+$", "");
            assertThat(lower).as(qwen.token(id)).anyMatch(word -> word.startsWith(letters));
            assertThat(letters).as(qwen.token(id)).hasSizeGreaterThan(1);
        }
    }

    @Test
    void findsWordsHoweverQwenCutsThem() {
        List<String> words = CriticalTokens.DEFAULT_WORDS;
        assertThat(marked(words, "So x = 3. Wait, 3 + 4 is 7.\nWait no. (wait)"))
                .containsExactly(" Wait", "Wait", "wait");
        assertThat(marked(words, "Alternatively, one may ... ALTERNATIVELY:")).hasSize(2);
        assertThat(marked(words, "Hmm... hmm, HMM! Hmmm")).hasSize(3);
        assertThat(marked(words, "I await waiting waiters; wait_time, _wait")).isEmpty();
        assertThat(marked(CriticalTokens.LONG_LIST, "But I should double-check this again, now."))
                .containsExactly("But", " double", " again", " now");
    }

    /// A word is the same word in every sentence around it: each marked place spells one, and no
    /// place that spells one is missed.
    @Test
    void everyGoldenTextIsMarkedWhereItsTextSaysSo() throws IOException {
        List<String> texts = new ArrayList<>();
        for (String line : Files.readAllLines(folder.resolve("golden_ids.jsonl"))) {
            JsonNode row = JsonMapper.shared().readTree(line);
            texts.add(row.path("text").asString());
        }
        texts.addAll(
                texts.stream().limit(200).map(text -> text + " Wait, " + text + "\nHmm").toList());
        CriticalTokens critical = critical(CriticalTokens.LONG_LIST);
        int found = 0;
        for (String text : texts) {
            int[] tokens = qwen.encode(text);
            boolean[] marks = critical.mark(tokens);
            int inText = 0;
            for (boolean mark : marks) {
                inText += mark ? 1 : 0;
            }
            assertThat(inText).as(text).isEqualTo(places(qwen.decode(tokens)));
            found += inText;
        }
        assertThat(found).isGreaterThan(300);
    }

    /// How many of the words a text has, counted word by word without a pattern.
    private static int places(String text) {
        int count = 0;
        for (int at = 0; at < text.length(); at++) {
            if (at > 0 && isWordPart(text.codePointBefore(at))) {
                continue;
            }
            int longest = 0;
            for (String word : CriticalTokens.LONG_LIST) {
                boolean here = text.regionMatches(true, at, word, 0, word.length());
                int end = at + word.length();
                if (here && (end == text.length() || !isWordPart(text.codePointAt(end)))) {
                    longest = Math.max(longest, word.length());
                }
            }
            count += longest > 0 ? 1 : 0;
            at += Math.max(0, longest - 1);
        }
        return count;
    }

    private static boolean isWordPart(int codePoint) {
        return codePoint == '_'
                || Character.isLetter(codePoint)
                || switch (Character.getType(codePoint)) {
                    case Character.DECIMAL_DIGIT_NUMBER,
                            Character.LETTER_NUMBER,
                            Character.OTHER_NUMBER ->
                            true;
                    default -> false;
                };
    }
}
