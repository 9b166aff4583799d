package dev.saccade.rl.task;

import dev.saccade.rl.data.KeyedRandom;

/// How often each way of thinking appears in supervised rows. The shares add up to 1. What a cold
/// start shows decides what reinforcement learning can strengthen: the share of corrections is the
/// knob for how much a model checks itself later.
///
/// @param guess answers without reading
/// @param plain reads, then works
/// @param corrected misreads one digit, corrects it, then works
/// @param checked reads right, looks again, then works
public record Mixture(double guess, double plain, double corrected, double checked) {
    /// The cold start's: half guesses, and many corrections among the rest.
    public static final Mixture COLD_START = new Mixture(0.50, 0.22, 0.22, 0.06);

    /// A cold start with few corrections, for comparison.
    public static final Mixture FEW_CORRECTIONS = new Mixture(0.50, 0.34, 0.08, 0.08);

    /// No guesses: the connector's stage.
    public static final Mixture READING = new Mixture(0, 0.90, 0, 0.10);

    /// Checks the shares.
    public Mixture {
        if (!(guess >= 0 && plain >= 0 && corrected >= 0 && checked >= 0)
                || Math.abs(guess + plain + corrected + checked - 1) > 1e-9) {
            throw new IllegalArgumentException(
                    "shares %s, %s, %s and %s do not add up to 1"
                            .formatted(guess, plain, corrected, checked));
        }
    }

    Trace draw(KeyedRandom random) {
        double at = random.nextDouble();
        if (at < guess) {
            return Trace.GUESS;
        }
        if (at < guess + plain) {
            return Trace.PLAIN;
        }
        return at < guess + plain + corrected ? Trace.CORRECTED : Trace.CHECKED;
    }
}
