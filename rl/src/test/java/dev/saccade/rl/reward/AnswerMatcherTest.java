package dev.saccade.rl.reward;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class AnswerMatcherTest {
    private static void same(String a, String b) {
        assertThat(AnswerMatcher.matches(a, b)).as("%s = %s", a, b).isTrue();
        assertThat(AnswerMatcher.matches(b, a)).as("%s = %s", b, a).isTrue();
    }

    private static void different(String a, String b) {
        assertThat(AnswerMatcher.matches(a, b)).as("%s = %s", a, b).isFalse();
        assertThat(AnswerMatcher.matches(b, a)).as("%s = %s", b, a).isFalse();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "5|5",
                "5|5.0",
                "5|5.",
                "05|5",
                ".5|0.50",
                "+5|5",
                "-5|- 5",
                "\u22125|-5",
                "1234|1,234",
                "1234567|1,234,567",
                "1234567|1\\,234\\,567",
                "1234567|1 234 567",
                "1234.5|1{,}234.5",
                "1/2|0.5",
                "1/2|\\frac{1}{2}",
                "1/2|\\dfrac12",
                "1/2|2/4",
                "-1/2|-\\frac{1}{2}",
                "-1/2|\\frac{-1}{2}",
                "1/-2|-0.5",
                "½|0.5",
                "2½|2.5",
                "2 1/2|5/2",
                "2\\frac{1}{2}|2.5",
                "-2 1/2|-2.5",
                "1.5/2|0.75",
                "50%|50",
                "50\\%|0.5",
                "12.5 percent|12.5%",
                "1.5e3|1500",
                "1.5 \\times 10^{3}|1500",
                "2×10^-2|0.02",
                "$5$|5",
                "\\(5\\)|5",
                "\\$5|5",
                "$5|5 dollars",
                "5 cm|5",
                "5cm|5",
                "5\\text{ cm}|5 centimeters",
                "5 cm^2|5 square centimeters",
                "5 cm²|5 cm^{2}",
                "5 km/h|5 km/hour",
                "12 apples|12",
                "1 apple|1 apples",
                "90°|90",
                "90^\\circ|90^{\\circ}",
                "90°|90 degrees",
                "x = 5|5",
                "x=5|x = 5.0",
                "**5**|5",
                "\\boxed{5}|5",
                "{5}|5",
                "(5)|5",
            })
    void numbersThatAreEqual(String a, String b) {
        same(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "5|6",
                "5|-5",
                "5|50",
                "5|5x",
                "5|5 x",
                "5|5 million",
                "5|5\\pi",
                "5|5 pi",
                "5|5!!5",
                "5|5^2",
                "5²|52",
                "5 cm|5 m",
                "5 cm|5 cm^2",
                "5 kg|5 cm",
                "1234|1,2345",
                "1,23|123",
                "1 23|123",
                "1/2|1/3",
                "1/2|2",
                "1/0|1",
                "\\frac{1}{0}|1/0.5",
                "1/2/3|1/6",
                "2 1/2|21/2",
                "0.333|1/3",
                "50%|500",
                "1.2.3|1.23",
                "1e5|15",
                "1e999|1e998",
                "12|1 2",
                "4-5|4",
                "3:4|3",
            })
    void numbersThatDiffer(String a, String b) {
        different(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "A|A",
                "A|a",
                "(A)|A",
                "A.|A",
                "A)|A",
                "A:|A",
                "[A]|A",
                "\"A\"|A",
                "'A'|A",
                "\\text{A}|A",
                "\\textbf{(A)}|A",
                "Option A|A",
                "The answer is A.|A",
                "A. 5 cm|A",
                "(A) 5 cm|A",
                "A) the first one|A",
                "A. left|A. left",
            })
    void choicesThatAreEqual(String a, String b) {
        same(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "A|B",
                "(A)|(B)",
                "A|AB",
                "(A) and (B)|A",
                "A. and B|A",
                "A|5",
                "A|apple",
                "A. left|B. left",
            })
    void choicesThatDiffer(String a, String b) {
        different(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "{1, 2, 3}|{3,2,1}",
                "\\{1, 2\\}|{2, 1}",
                "\\left\\{\\frac12, 2\\right\\}|{2, 0.5}",
                "{1, 2}|2, 1",
                "(1, 2)|(1.0, \\frac{4}{2})",
                "(1, 2)|1, 2",
                "[0, 1)|[0,1)",
                "1, 2|1,2",
                "1; 2|1, 2",
                "(1, {2, 3})|(1, {3, 2})",
                "{Red, Blue}|{blue, red}",
                "(1000, 2)|(1000,2)",
            })
    void listsThatAreEqual(String a, String b) {
        same(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "(1, 2)|(2, 1)",
                "1, 2|2, 1",
                "{1, 2}|{1, 2, 2}",
                "{1, 1, 2}|{1, 2, 2}",
                "{1, 2}|(1, 2)",
                "[0, 1)|(0, 1)",
                "[0, 1)|[0, 1]",
                "(1, 2)|(1, 3)",
                "{1, 2|{1, 2}",
                "1, 2|12",
            })
    void listsThatDiffer(String a, String b) {
        different(a, b);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '~',
            value = {
                "Paris|paris",
                "Paris.|PARIS",
                "new  york|New York",
                "\\text{none}|None",
                "“yes”|Yes",
                "x^{2}+1|x^2 + 1",
                "\\sqrt{2}|\\sqrt{ 2 }",
                "2\\sqrt{3}|2 \\sqrt{3}",
                "等于|等于",
            })
    void textsThatAreEqual(String a, String b) {
        same(a, b);
    }

    @Test
    void textsThatDiffer() {
        different("Paris", "London");
        different("yes", "no");
        different("x^2", "x^3");
        different("", "x");
        different(" ", "x");
        assertThat(AnswerMatcher.matches("", "")).isFalse();
    }

    @Test
    void deepOrLongAnswersAreCompared() {
        same("(".repeat(900) + "1" + ")".repeat(900), "(".repeat(900) + "1" + ")".repeat(900));
        same("9".repeat(2000), "9".repeat(2000));
        different("9".repeat(2000), "9".repeat(1999));
        String long1 = "a, ".repeat(5000);
        same(long1, long1);
        different("1" + " 000".repeat(400), "1");
    }

    @Test
    void noInputThrows() {
        Random random = new Random(20260901);
        String[] pieces = {
            "\\frac",
            "\\boxed",
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            ",",
            ";",
            "/",
            "1",
            "0",
            "23",
            "-",
            "+",
            ".",
            "%",
            "$",
            "\\",
            "^",
            "_",
            " ",
            "e",
            "E",
            "cm",
            "A",
            "=",
            "\\text{",
            "\\{",
            "\\}",
            "½",
            "²",
            "°",
            "\u2212",
            "\ud800",
            "\udc00",
            "\0",
            "\n",
            "\"",
            "'",
            "*",
            "10^",
            "<think>",
            "</think>",
            "\u0130",
            "ſ",
            "等",
            "1e",
            "999",
            "\\,",
            "{,}",
            "\\left",
            "\\right",
            "x",
            "or",
        };
        for (int i = 0; i < 60_000; i++) {
            StringBuilder text = new StringBuilder();
            for (int length = random.nextInt(14); length >= 0; length--) {
                if (random.nextInt(10) == 0) {
                    text.append((char) random.nextInt(0x10000));
                } else {
                    text.append(pieces[random.nextInt(pieces.length)]);
                }
            }
            String answer = text.toString();
            String other = pieces[random.nextInt(pieces.length)] + random.nextInt(100);
            assertThatCode(
                            () -> {
                                AnswerMatcher.matches(answer, other);
                                AnswerMatcher.matches(other, answer);
                                boolean itself = AnswerMatcher.matches(answer, answer);
                                boolean again = AnswerMatcher.matches(answer, answer);
                                assertThat(itself).isEqualTo(again);
                                RuleReward.isWellFormed(answer, other + answer);
                            })
                    .as("round %d: %s", i, answer)
                    .doesNotThrowAnyException();
        }
    }
}
