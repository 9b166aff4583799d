package dev.saccade.model.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/// Text that grows token by token: stop strings over the borders of tokens, characters of several
/// tokens, the thinking budget.
final class TextGuideTest {
    /// Bytes, so that every mark is cut; `</think>` is no token here, as in Qwen2.
    private static final Tokenizer BYTES =
            Tokenizer.parse(TinyVocabularies.withoutThinkingTokens(), "the tokenizer of this test");

    private static final Tokenizer TINY = TinyVocabulary.tokenizer(List.of("abc"));

    private final List<String> parts = new ArrayList<>();

    /// Follows tokens until the guide stops; returns how many were followed.
    private static int follow(TextGuide guide, int[] tokens) {
        for (int i = 0; i < tokens.length; i++) {
            if (guide.follow(tokens[i]) == Guide.Choice.STOP) {
                return i + 1;
            }
        }
        return tokens.length;
    }

    private String cut(String text, String... stops) {
        parts.clear();
        TextGuide guide = TextGuide.of(BYTES, List.of(stops), parts::add);
        follow(guide, BYTES.encode(text));
        String whole = guide.finish();
        assertThat(String.join("", parts)).isEqualTo(whole);
        assertThat(parts).doesNotContain("");
        return whole;
    }

    @Test
    void theTextEndsBeforeTheFirstStopString() {
        assertThat(cut("one two three", " two")).isEqualTo("one");
        assertThat(cut("one two three", "five")).isEqualTo("one two three");
        assertThat(cut("one two three", "three", "tw")).isEqualTo("one ");
        assertThat(cut("aaaaab", "aab")).isEqualTo("aaa");
        assertThat(cut("abababac", "ababac")).isEqualTo("ab");
        assertThat(cut("end\nHuman", "\nHuman:")).isEqualTo("end\nHuman");
        assertThat(cut("x", "x")).isEmpty();
    }

    @Test
    void nothingIsShownThatCouldBecomeAStopString() {
        TextGuide guide = TextGuide.of(BYTES, List.of("\n\nQ:"), parts::add);
        follow(guide, BYTES.encode("A\n\nQ"));
        assertThat(parts).containsExactly("A");
        assertThat(follow(guide, BYTES.encode(": ?"))).isEqualTo(1);
        assertThat(guide.stopString()).isEqualTo("\n\nQ:");
        assertThat(guide.finish()).isEqualTo("A");
    }

    @Test
    void aStopStringInsideOneTokenEndsTheTextToo() {
        TextGuide guide = TextGuide.of(TINY, List.of("b"), parts::add);
        assertThat(follow(guide, TINY.encode("xabcx"))).isEqualTo(2);
        assertThat(guide.finish()).isEqualTo("xa");
    }

    @Test
    void charactersAreNeverCutAndSpecialTokensNeverShown() {
        TextGuide guide = TextGuide.of(TINY, List.of(), parts::add);
        follow(guide, TINY.encode("é<|im_end|>漢"));
        assertThat(parts).containsExactly("é", "漢");
        follow(guide, new int[] {TINY.encode("漢")[0]});
        assertThat(guide.finish()).isEqualTo("é漢\uFFFD");
    }

    @Test
    void anEmptyStopStringIsRefused() {
        assertThatThrownBy(() -> TextGuide.of(TINY, List.of(""), parts::add))
                .isInstanceOf(IllegalArgumentException.class);
    }

    /// Plays a model that wants to write `text`, until it has written that or `most` tokens.
    private static String play(Tokenizer tokenizer, TextGuide guide, String text, int most) {
        int[] wanted = tokenizer.encode(text);
        int next = 0;
        Guide.Next turn = guide.begin();
        for (int i = 0; i < most && (next < wanted.length || turn != Guide.Choice.DRAW); i++) {
            int token = turn instanceof Guide.Force(int forced) ? forced : wanted[next++];
            turn = guide.follow(token);
        }
        return guide.finish();
    }

    private String budget(Tokenizer tokenizer, int tokens, boolean begun, String text) {
        TextGuide guide = TextGuide.withBudget(tokenizer, List.of(), tokens, begun, _ -> {});
        return play(tokenizer, guide, text, 100);
    }

    @Test
    void thinkingBeyondTheBudgetIsEnded() {
        for (Tokenizer tokenizer : List.of(BYTES, TINY)) {
            assertThat(budget(tokenizer, 5, true, "0123456789")).isEqualTo("01234</think>56789");
            assertThat(budget(tokenizer, 0, true, "01")).isEqualTo("</think>01");
            assertThat(budget(tokenizer, 0, false, "01")).isEqualTo("01");
            assertThat(budget(tokenizer, 2, false, "01<think>2345"))
                    .isEqualTo("01<think>23</think>45");
            assertThat(budget(tokenizer, 50, true, "0123</think>456")).isEqualTo("0123</think>456");
        }
        assertThat(budget(TINY, 5, true, "0123</think>456789")).isEqualTo("0123</think>456789");
        assertThat(budget(BYTES, 12, true, "0123</think>" + "4".repeat(20)))
                .isEqualTo("0123</think>" + "4".repeat(20));
    }

    @Test
    void aMarkThatTheModelHasBegunIsCompleted() {
        assertThat(budget(BYTES, 6, true, "0123</")).isEqualTo("0123</think>");
        assertThat(budget(BYTES, 5, true, "0123<")).isEqualTo("0123</think>");
    }
}
