package dev.saccade.rl.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class ReportPartsTest {
    private static Response response(
            String subject, String prompt, boolean correct, boolean critical) {
        return new Response(
                1,
                "grpo",
                subject,
                prompt,
                null,
                "",
                "1",
                1,
                correct,
                true,
                List.of(new Response.Token("Wait", 0.5, -0.1, critical, 0.25)));
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "1, 1",
        "1.5, 1.5",
        "0.2, 0.2",
        "0.0123456, 0.0123",
        "-0.5, −0.5",
        "123.4, 123",
        "100, 100",
        "0.00012, 0.00012",
        "0.000012, 1.2e−5",
        "25000000, 2.5e7"
    })
    void numbersAreShort(double value, String text) {
        assertThat(Numbers.significant(value)).isEqualTo(text);
    }

    @Test
    void numbersHaveTheirUnitsAndSigns() {
        assertThat(Numbers.percent(0.5238)).isEqualTo("52.4\u202f%");
        assertThat(Numbers.points(0.1234)).isEqualTo("+12.3");
        assertThat(Numbers.points(-0.1234)).isEqualTo("−12.3");
        assertThat(Numbers.points(-0.0001)).isEqualTo("±0.0");
        assertThat(Numbers.percent(Double.NaN)).isEqualTo("–");
        assertThat(Numbers.significant(Double.POSITIVE_INFINITY)).isEqualTo("–");
        assertThat(Numbers.significant(1234)).isEqualTo("1,234");
        assertThat(Numbers.compact(1_043_712)).isEqualTo("1.04\u202fM");
        assertThat(Numbers.compact(38_400_000_000L)).isEqualTo("38.4\u202fB");
        assertThat(Numbers.compact(999)).isEqualTo("999");
        assertThat(Numbers.duration(4.25)).isEqualTo("4.3\u202fs");
        assertThat(Numbers.duration(252)).isEqualTo("4\u202fmin 12\u202fs");
        assertThat(Numbers.duration(7512)).isEqualTo("2\u202fh 5\u202fmin");
        assertThat(Numbers.coordinate(12.04)).isEqualTo("12");
    }

    @Test
    void axesHoldTheirValuesAtRoundTicks() {
        assertThat(ValueAxis.linear(0, 0.97, 5).ticks())
                .usingComparatorForType((a, b) -> Math.abs(a - b) < 1e-9 ? 0 : 1, Double.class)
                .containsExactly(0.0, 0.2, 0.4, 0.6, 0.8, 1.0);
        assertThat(ValueAxis.linear(5, 5, 4).ticks()).hasSizeGreaterThan(1);
        assertThat(ValueAxis.linear(0, 0, 4).ticks()).hasSizeGreaterThan(1);
        Random random = new Random(11);
        for (int i = 0; i < 2000; i++) {
            double a = random.nextGaussian() * Math.pow(10, random.nextInt(-6, 7));
            double b = random.nextGaussian() * Math.pow(10, random.nextInt(-6, 7));
            ValueAxis axis = ValueAxis.linear(Math.min(a, b), Math.max(a, b), 4);
            assertThat(axis.position(a)).isBetween(-1e-6, 1 + 1e-6);
            assertThat(axis.position(b)).isBetween(-1e-6, 1 + 1e-6);
            assertThat(axis.ticks()).hasSizeBetween(2, 12);
            double low = Math.min(Math.abs(a), Math.abs(b));
            double high = Math.max(Math.abs(a), Math.abs(b)) * 50;
            ValueAxis logarithmic = ValueAxis.logarithmic(low, high);
            assertThat(logarithmic.position(low)).isBetween(-1e-9, 0.6);
            assertThat(logarithmic.position(high)).isBetween(0.4, 1 + 1e-9);
        }
    }

    @Test
    void stagesShareTheWidth() {
        List<StageSpan> stages =
                List.of(
                        new StageSpan("a", 0, 900),
                        new StageSpan("b", 900, 1000),
                        new StageSpan("c", 1000, 1000));
        StageAxis axis = new StageAxis(stages, stage -> stage.to() - stage.from(), 40, 390);
        assertThat(axis.bands().getFirst().left()).isEqualTo(40);
        assertThat(axis.bands().getLast().right()).isCloseTo(390, within(1e-9));
        StageAxis.Band a = axis.band("a");
        StageAxis.Band b = axis.band("b");
        assertThat((a.right() - a.left()) / (b.right() - b.left())).isCloseTo(3, within(1e-9));
        assertThat(a.x(450)).isCloseTo((a.left() + a.right()) / 2, within(1e-9));
        List<StageAxis.Tick> ticks = axis.ticks();
        for (int i = 0; i < ticks.size(); i++) {
            for (int j = 0; j < i; j++) {
                assertThat(Math.abs(ticks.get(i).x() - ticks.get(j).x())).isGreaterThan(30);
            }
        }
    }

    @Test
    void aCorrelationSaysHowLittleItSays() {
        assertThat(RankCorrelation.of(new double[0], new double[0]).describe())
                .contains("fewer than two");
        assertThat(
                        RankCorrelation.of(new double[] {1, 1, 1, 1}, new double[] {1, 2, 3, 4})
                                .describe())
                .contains("undefined");
        assertThat(RankCorrelation.of(new double[] {1, 2, 3}, new double[] {1, 2, 3}).describe())
                .contains("too few");
        double[] rising = new double[12];
        double[] falling = new double[12];
        for (int i = 0; i < 12; i++) {
            rising[i] = i;
            falling[i] = -i;
        }
        assertThat(RankCorrelation.of(rising, rising).describe())
                .contains("strong")
                .contains("in the report's direction")
                .contains("fewer than 1 case of 2,000");
        assertThat(RankCorrelation.of(rising, falling).describe())
                .contains("strong")
                .contains("against the report's claim");
        // Of the 24 orders of four, two reach 1 or -1.
        RankCorrelation four =
                RankCorrelation.of(new double[] {1, 2, 3, 4}, new double[] {1, 2, 3, 4});
        assertThat(four.chance()).isCloseTo(2.0 / 24, within(0.01));
        double[] other = {3, 9, 1, 12, 5, 8, 2, 11, 6, 4, 10, 7};
        RankCorrelation weak = RankCorrelation.of(rising, other);
        assertThat(weak.chance()).isGreaterThan(0.2);
        assertThat(weak).isEqualTo(RankCorrelation.of(rising, other));
    }

    @Test
    void samplesAreAMixture() {
        List<Response> before = new ArrayList<>();
        List<Response> after = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            String subject = List.of("a", "b", "c", "d").get(i % 4);
            before.add(response(subject, "q" + i, i % 3 == 0, false));
            after.add(response(subject, "q" + i, i % 5 != 0, i % 2 == 0));
        }
        List<SamplePicker.Pair> pairs = SamplePicker.pairs(before, after);
        assertThat(pairs).allMatch(pair -> pair.before() != null);
        assertThat(SamplePicker.count(pairs).values().stream().mapToInt(n -> n).sum())
                .isEqualTo(40);
        List<SamplePicker.Pair> picked = SamplePicker.pick(pairs, 8);
        assertThat(picked).hasSize(8).doesNotHaveDuplicates();
        assertThat(picked.stream().map(SamplePicker.Pair::outcome).distinct())
                .containsExactlyInAnyOrder(SamplePicker.Outcome.values());
        assertThat(picked.stream().map(pair -> pair.after().dataSource()).distinct()).hasSize(4);
        assertThat(SamplePicker.pick(pairs.subList(0, 3), 8)).hasSize(3);
        assertThat(SamplePicker.pick(List.of(), 8)).isEmpty();
        List<SamplePicker.Pair> alone = SamplePicker.pairs(new ArrayList<>(), after);
        assertThat(alone).allMatch(pair -> pair.before() == null);
        assertThat(SamplePicker.pick(alone, 8)).hasSize(8);
    }

    @Test
    void aRowAskedTwiceIsPairedInOrder() {
        List<Response> before =
                List.of(response("a", "q", true, false), response("a", "q", false, false));
        List<Response> after =
                List.of(
                        response("a", "q", true, true),
                        response("a", "q", true, true),
                        response("a", "q", true, true));
        List<SamplePicker.Pair> pairs = SamplePicker.pairs(before, after);
        assertThat(pairs.stream().map(SamplePicker.Pair::outcome))
                .containsExactly(
                        SamplePicker.Outcome.RIGHT,
                        SamplePicker.Outcome.FIXED,
                        SamplePicker.Outcome.RIGHT);
        assertThat(pairs.getLast().before()).isNull();
    }

    @Test
    void questionsLoseTheConversationsMarks() {
        String conversation =
                """
                <|im_start|>system
                Be good.<|im_end|>
                <|im_start|>user
                What is
                the sum?<img><IMG_CONTEXT><IMG_CONTEXT></img><|im_end|>
                <|im_start|>assistant
                <think>\
                """;
        assertThat(ReasoningSection.question(conversation)).isEqualTo("What is the sum?");
        assertThat(ReasoningSection.question("<image>\nHow many?")).isEqualTo("How many?");
        assertThat(ReasoningSection.question("x".repeat(5000))).hasSize(601);
    }
}
