package dev.saccade.rl.reward;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// The rule-based reward of the Skywork-R1V3 report (section 3.1):
///
///     R = e R_accuracy + (1 - e) R_format,   e = 0.8
///
/// `R_accuracy` is 1 when the last `\boxed{...}` of the response is the right answer
/// ([AnswerMatcher]). `R_format` is 1 when prompt and response together think once and then answer
/// once: one `<think>`, something thought, one `</think>`, and after it exactly one `\boxed{...}`.
/// A prompt that ends with `<think>` has opened the thinking already.
public final class RuleReward implements Reward {
    private static final String OPEN = "<think>";
    private static final String CLOSE = "</think>";

    private final double accuracyWeight;

    /// With the report's weights: 0.8 for a right answer, 0.2 for the format.
    public RuleReward() {
        this(0.8);
    }

    /// @param accuracyWeight what a right answer is worth, from 0 to 1; the rest is for the format
    public RuleReward(double accuracyWeight) {
        if (!(accuracyWeight >= 0 && accuracyWeight <= 1)) {
            throw new IllegalArgumentException("accuracy weight " + accuracyWeight);
        }
        this.accuracyWeight = accuracyWeight;
    }

    @Override
    public Score score(Sample sample) {
        @Nullable String predicted = Boxed.last(sample.response());
        boolean right = predicted != null && AnswerMatcher.matches(predicted, sample.groundTruth());
        boolean wellFormed = isWellFormed(sample.prompt(), sample.response());
        double accuracy = right ? 1 : 0;
        double format = wellFormed ? 1 : 0;
        return new Score(
                accuracyWeight * accuracy + (1 - accuracyWeight) * format,
                accuracy,
                format,
                predicted);
    }

    /// Whether a response keeps to the format.
    static boolean isWellFormed(String prompt, String response) {
        String text = prompt.stripTrailing().endsWith(OPEN) ? OPEN + response : response;
        String begun = text.stripLeading();
        if (!begun.startsWith(OPEN) || begun.indexOf(OPEN, OPEN.length()) >= 0) {
            return false;
        }
        int close = begun.indexOf(CLOSE);
        if (close < 0
                || begun.indexOf(CLOSE, close + 1) >= 0
                || begun.substring(OPEN.length(), close).isBlank()) {
            return false;
        }
        List<Boxed.Occurrence> answers = Boxed.all(begun.substring(close + CLOSE.length()));
        return answers.size() == 1 && answers.getFirst().content() != null;
    }

    @Override
    public String name() {
        return "rule";
    }
}
