package dev.saccade.rl.report;

import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// How far sampler and trainer were apart.
///
/// @param logProb the largest difference of a log-probability
/// @param entropy the largest difference of an entropy
/// @param steps how many steps of reinforcement learning compared them
record SamplerAgreement(double logProb, double entropy, long steps) {
    private static final String LOG_PROB = "training/rollout_logprob_max_difference";
    private static final String ENTROPY = "training/rollout_entropy_max_difference";

    /// What the run's metrics and summary say; null when nothing was compared.
    static @Nullable SamplerAgreement of(RunData data) {
        List<MetricLine> compared =
                data.lines().stream().filter(line -> line.values().containsKey(LOG_PROB)).toList();
        if (compared.isEmpty()) {
            return null;
        }
        JsonNode summary = data.summary().path("sampler_trainer_max_difference");
        double logProb = summary.path("log_prob").asDouble(0);
        double entropy = summary.path("entropy").asDouble(0);
        for (MetricLine line : compared) {
            logProb = Math.max(logProb, line.values().getOrDefault(LOG_PROB, 0.0));
            entropy = Math.max(entropy, line.values().getOrDefault(ENTROPY, 0.0));
        }
        return new SamplerAgreement(logProb, entropy, compared.size());
    }

    boolean isExact() {
        return logProb == 0 && entropy == 0;
    }

    double largest() {
        return Math.max(logProb, entropy);
    }

    /// In a sentence.
    Html draw() {
        Html html = new Html();
        html.open("p", "class", isExact() ? "agreement" : "agreement notice");
        html.element("b", "Sampler = trainer. ");
        html.text(
                "Largest difference between what was sampled and what training computed, over %s %s: "
                        .formatted(Numbers.whole(steps), steps == 1 ? "step" : "steps"));
        html.element("b", logProb == 0 ? "0" : Numbers.significant(logProb));
        html.text(" in log-probability, ");
        html.element("b", entropy == 0 ? "0" : Numbers.significant(entropy));
        html.text(" in entropy.");
        html.text(
                isExact()
                        ? " Both are the same code on the same weights, equal bit for bit."
                        : " They should be equal: this run's gradients are not what they claim.");
        return html.close("p");
    }
}
