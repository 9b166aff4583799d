package dev.saccade.model.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

final class CriticalTokensTest {
    private static final Tokenizer TOKENIZER =
            TinyVocabulary.tokenizer(List.of("Wait", " Wait,", "I see", ". Hmm", "altern", " a"));

    /// The tokens that are marked in a text, as text.
    private static List<String> marked(List<String> words, String text) {
        int[] tokens = TOKENIZER.encode(text);
        return marked(words, tokens);
    }

    private static List<String> marked(List<String> words, int[] tokens) {
        boolean[] marks = CriticalTokens.of(words, TOKENIZER).mark(tokens);
        assertThat(marks).hasSameSizeAs(tokens);
        List<String> found = new ArrayList<>();
        for (int t = 0; t < tokens.length; t++) {
            if (marks[t]) {
                found.add(TOKENIZER.token(tokens[t]));
            }
        }
        return found;
    }

    @Test
    void findsWordsHoweverTheyAreCut() {
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "I see 4. Wait, I see 5."))
                .containsExactly(" Wait,");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "Wait")).containsExactly("Wait");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "(wait) WAIT! \nwait:"))
                .containsExactly("w", "W", "w");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "no. Hmm no")).containsExactly(". Hmm");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "so alternatively, x"))
                .containsExactly(" a");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "alternatively")).containsExactly("altern");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "\u201cWait\u201d"))
                .containsExactly("Wait");
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "Wait. Wait"))
                .containsExactly("Wait", "Wait");
    }

    @Test
    void otherWordsAreNotCritical() {
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "await waiting Waiter wait_1 wait5 hmmm"))
                .isEmpty();
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "éwait waité")).isEmpty();
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, "")).isEmpty();
    }

    @Test
    void wordsInOtherScriptsAndWithOtherCharacters() {
        assertThat(marked(List.of("等等"), "好等等吧")).hasSize(1);
        assertThat(marked(List.of("Überlege"), "ja, überlege")).hasSize(1);
        assertThat(marked(List.of("a.b"), "axb a.b")).containsExactly(" a");
        assertThat(marked(CriticalTokens.LONG_LIST, "But now, double-check it"))
                .containsExactly("B", "n", "d");
        assertThat(marked(List.of("double-check", "check"), "recheck check")).hasSize(1);
    }

    @Test
    void ofWordsThatBeginTogetherTheLongestIsMeant() {
        assertThat(marked(List.of("But", "Wait", "But wait"), "but wait, wait, but x"))
                .containsExactly("b", "w", "b");
        assertThat(marked(List.of("Alternative", "Alternatively"), " alternatively"))
                .containsExactly(" a");
    }

    @Test
    void firstTokensAreWhatAWordMayOpenWith() {
        List<String> first =
                Arrays.stream(
                                CriticalTokens.of(CriticalTokens.DEFAULT_WORDS, TOKENIZER)
                                        .firstTokens())
                        .mapToObj(TOKENIZER::token)
                        .toList();
        // "altern" opens a word that no token holds; "w" and "H" are too little of theirs.
        assertThat(first).containsExactlyInAnyOrder("Wait", " Wait,", ". Hmm", "altern");
        assertThat(CriticalTokens.of(List.of("a"), TOKENIZER).firstTokens())
                .contains((int) 'a', (int) 'A');
        assertThat(CriticalTokens.of(List.of("等等"), TOKENIZER).firstTokens()).isEmpty();
    }

    @Test
    void bytesThatAreNoCharactersAreNoTrouble() {
        int[] tokens = {0xe7, 0xad, 'W', 0x80, 0xff, 0xc0, 0xf5, 0xf0, 0x9f, 0xf8};
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, tokens)).isEmpty();
        int[] before = {0xe7, 'w', 'a', 'i', 't', 0xff};
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, before)).containsExactly("w");
        byte[] emoji = "😀wait".getBytes(StandardCharsets.UTF_8);
        int[] after = new int[emoji.length];
        for (int i = 0; i < emoji.length; i++) {
            after[i] = emoji[i] & 0xff;
        }
        boolean[] marks = CriticalTokens.of(List.of("wait"), TOKENIZER).mark(after);
        assertThat(marks).containsExactly(false, false, false, false, true, false, false, false);
    }

    @Test
    void tokensOutsideTheVocabularyAreNoTrouble() {
        assertThat(marked(CriticalTokens.DEFAULT_WORDS, new int[] {100_000, 'x'})).isEmpty();
    }

    @Test
    void needsWords() {
        assertThatThrownBy(() -> CriticalTokens.of(List.of(), TOKENIZER))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> CriticalTokens.of(List.of("Wait", " "), TOKENIZER))
                .isInstanceOf(IllegalArgumentException.class);
        assertThat(CriticalTokens.of(List.of(" Wait "), TOKENIZER).words()).containsExactly("Wait");
    }

    @Test
    void theFormsAreTheTokensThatHoldAWord() {
        assertThat(CriticalTokens.of(CriticalTokens.DEFAULT_WORDS, TOKENIZER).forms())
                .containsExactly(
                        TOKENIZER.id("Wait").orElseThrow(),
                        TOKENIZER.id(" Wait,").orElseThrow(),
                        TOKENIZER.id(". Hmm").orElseThrow());
        assertThat(CriticalTokens.of(List.of("im_end", "img"), TOKENIZER).forms()).isEmpty();
    }
}
