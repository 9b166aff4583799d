package dev.saccade.rl.evaluation;

import dev.saccade.rl.entropy.EntropyStatistics;
import dev.saccade.rl.recipe.SelectionRecipe;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/// Chooses the best of a run's evaluated checkpoints.
///
/// The rule `critical-entropy` follows the Skywork-R1V3 report (section 5.1): an imitator's reward
/// and accuracy look like a reasoner's, but the entropy where it emits "Wait" is low. Accuracy is
/// the guard: only checkpoints within `guard` of the best accuracy take part, and among those the
/// highest critical entropy wins. A checkpoint that never emits a critical token has no critical
/// entropy and loses to every one that does; when none does, accuracy decides. Ties go to the
/// higher accuracy, then to the earlier step.
public final class CheckpointSelection {
    private static final Comparator<Candidate> BY_ACCURACY =
            Comparator.comparingDouble(Candidate::overallAccuracy)
                    .thenComparing(Comparator.comparingLong(Candidate::step).reversed());

    private static final Comparator<Candidate> BY_CRITICAL_ENTROPY =
            Comparator.comparingDouble(CheckpointSelection::entropyOrNone)
                    .thenComparing(BY_ACCURACY);

    private final SelectionRecipe recipe;

    /// A selection by the recipe's rule.
    public CheckpointSelection(SelectionRecipe recipe) {
        this.recipe = recipe;
    }

    /// Entropies are not negative, so a missing one ranks below all.
    private static double entropyOrNone(Candidate candidate) {
        return Double.isNaN(candidate.criticalEntropy()) ? -1 : candidate.criticalEntropy();
    }

    /// The rule in words, for the summary.
    public String describe() {
        return switch (recipe.rule()) {
            case CRITICAL_ENTROPY ->
                    "highest critical-token entropy among checkpoints within "
                            + recipe.guard()
                            + " of the best accuracy";
            case ACCURACY -> "highest accuracy";
            case LAST -> "the last checkpoint";
        };
    }

    /// The best candidate; empty when there is none.
    public Optional<Candidate> best(List<Candidate> candidates) {
        return switch (recipe.rule()) {
            case CRITICAL_ENTROPY -> guarded(candidates).stream().max(BY_CRITICAL_ENTROPY);
            case ACCURACY -> candidates.stream().max(BY_ACCURACY);
            case LAST -> candidates.stream().max(Comparator.comparingLong(Candidate::step));
        };
    }

    /// The candidates that may still win, whatever follows: what has to stay on the disk. A
    /// candidate can no longer win when it is below the guard, which only rises, or when another
    /// one is at least as good in accuracy and entropy.
    public List<Candidate> contenders(List<Candidate> candidates) {
        if (recipe.rule() != SelectionRecipe.Rule.CRITICAL_ENTROPY) {
            return best(candidates).stream().toList();
        }
        List<Candidate> contenders = new ArrayList<>();
        List<Candidate> guarded = guarded(candidates);
        for (Candidate candidate : guarded) {
            boolean beaten =
                    guarded.stream()
                            .anyMatch(other ->
                                    other.overallAccuracy() >= candidate.overallAccuracy()
                                            && BY_CRITICAL_ENTROPY.compare(other, candidate) > 0);
            if (!beaten) {
                contenders.add(candidate);
            }
        }
        return contenders;
    }

    private List<Candidate> guarded(List<Candidate> candidates) {
        double best = candidates.stream().mapToDouble(Candidate::overallAccuracy).max().orElse(0);
        return candidates.stream()
                .filter(candidate -> candidate.overallAccuracy() >= best - recipe.guard())
                .toList();
    }

    /// Spearman's rank correlation of critical entropy and accuracy over the candidates that
    /// emitted critical tokens; NaN when it is not defined.
    public static double rankCorrelation(List<Candidate> candidates) {
        List<Candidate> measured =
                candidates.stream().filter(c -> !Double.isNaN(c.criticalEntropy())).toList();
        return EntropyStatistics.rankCorrelation(
                measured.stream().mapToDouble(Candidate::criticalEntropy).toArray(),
                measured.stream().mapToDouble(Candidate::overallAccuracy).toArray());
    }
}
