package dev.saccade.rl.reward;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class RuleRewardTest {
    private static final String PROMPT =
            "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n<think>";

    private static Score score(String prompt, String response, String truth) {
        return new RuleReward().score(new Sample("sum", prompt, response, truth, Map.of()));
    }

    private static void assertScore(Score score, double accuracy, double format) {
        assertThat(score.accuracy()).isEqualTo(accuracy);
        assertThat(score.format()).isEqualTo(format);
        assertThat(score.total()).isCloseTo(0.8 * accuracy + 0.2 * format, within(1e-12));
    }

    @Test
    void aRightAndWellFormedResponse() {
        Score score = score(PROMPT, "I see 4_5_. 4+5=9.</think>\\boxed{9}", "9");
        assertScore(score, 1, 1);
        assertThat(score.predicted()).isEqualTo("9");
        assertScore(score(PROMPT + "\n", "a</think>\n\nIt is \\boxed{9}.", "9"), 1, 1);
        assertScore(score("no tag", "<think>a</think>\\boxed{9}", "9"), 1, 1);
    }

    @Test
    void accuracyAndFormatAreApart() {
        assertScore(score(PROMPT, "a</think>\\boxed{8}", "9"), 0, 1);
        assertScore(score(PROMPT, "a \\boxed{9}", "9"), 1, 0);
        assertScore(score(PROMPT, "nothing", "9"), 0, 0);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "</think>\\boxed{9}",
                "  \n</think>\\boxed{9}",
                "a</think>b</think>\\boxed{9}",
                "<think>a</think>\\boxed{9}",
                "a</think>\\boxed{9}\\boxed{9}",
                "a</think>9",
                "a</think>\\boxed{9",
                "a</think>\\boxed 9",
                "\\boxed{9}</think>",
                ""
            })
    void responsesThatBreakTheFormat(String response) {
        assertThat(score(PROMPT, response, "9").format()).isZero();
    }

    @Test
    void anAnswerMayAlsoStandInTheThinking() {
        assertScore(score(PROMPT, "\\boxed{8}? no</think>\\boxed{9}", "9"), 1, 1);
    }

    @Test
    void theThinkingHasToBeOpened() {
        assertThat(score("no tag", "a</think>\\boxed{9}", "9").format()).isZero();
        assertThat(score("no tag", "b<think>a</think>\\boxed{9}", "9").format()).isZero();
    }

    @Test
    void theLastBoxCounts() {
        assertThat(Boxed.last("\\boxed{1} and \\boxed{2}")).isEqualTo("2");
        assertThat(Boxed.last("\\boxed{1} and \\boxed{2")).isNull();
        assertThat(Boxed.last("\\boxed{\\frac{1}{2}}")).isEqualTo("\\frac{1}{2}");
        assertThat(Boxed.last("\\boxed {\\{1\\}}")).isEqualTo("\\{1\\}");
        assertThat(Boxed.last("\\boxed{a\\}b}")).isEqualTo("a\\}b");
        assertThat(Boxed.last("\\boxed{\\boxed{3}}")).isEqualTo("\\boxed{3}");
        assertThat(Boxed.last("none")).isNull();
        assertThat(Boxed.last("\\boxed")).isNull();
        assertThat(Boxed.last("\\boxed{\\")).isNull();
        assertScore(score(PROMPT, "a</think>\\boxed{\\boxed{9}}", "9"), 1, 1);
    }

    @Test
    void weightsAreTheRecipes() {
        Score score =
                new RuleReward(0.9)
                        .score(new Sample("s", PROMPT, "a</think>\\boxed{1}", "2", Map.of()));
        assertThat(score.total()).isCloseTo(0.1, within(1e-12));
        assertThatThrownBy(() -> new RuleReward(1.1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new RuleReward(Double.NaN))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
