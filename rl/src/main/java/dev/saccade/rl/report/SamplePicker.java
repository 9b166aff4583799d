package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Picks responses to show: a mix of subjects and of outcomes, the same row before and after
/// reinforcement learning side by side.
final class SamplePicker {

    /// How a row went. Without an answer from before, only the last two.
    enum Outcome {
        FIXED("wrong before, right after"),
        BROKEN("right before, wrong after"),
        RIGHT("right"),
        WRONG("wrong");

        private final String words;

        Outcome(String words) {
            this.words = words;
        }

        String words() {
            return words;
        }
    }

    /// A row's answers.
    ///
    /// @param before before reinforcement learning; null when there is none
    /// @param after after it
    record Pair(@Nullable Response before, Response after) {
        Outcome outcome() {
            if (before == null || before.correct() == after.correct()) {
                return after.correct() ? Outcome.RIGHT : Outcome.WRONG;
            }
            return after.correct() ? Outcome.FIXED : Outcome.BROKEN;
        }

        boolean hasCritical() {
            return after.hasCritical() || (before != null && before.hasCritical());
        }
    }

    /// The outcomes in the order in which they are looked for.
    private static final List<Outcome> WANTED =
            List.of(
                    Outcome.FIXED,
                    Outcome.RIGHT,
                    Outcome.WRONG,
                    Outcome.FIXED,
                    Outcome.BROKEN,
                    Outcome.FIXED,
                    Outcome.RIGHT,
                    Outcome.WRONG);

    private SamplePicker() {}

    /// Puts answers to the same row together. A row that was asked several times has its answers
    /// paired in their order.
    static List<Pair> pairs(List<Response> before, List<Response> after) {
        Map<List<String>, List<Response>> byRow = new HashMap<>();
        before.forEach(r -> byRow.computeIfAbsent(row(r), _ -> new ArrayList<>()).add(r));
        List<Pair> pairs = new ArrayList<>();
        for (Response response : after) {
            List<Response> same = byRow.getOrDefault(row(response), List.of());
            pairs.add(new Pair(same.isEmpty() ? null : same.removeFirst(), response));
        }
        return pairs;
    }

    private static List<String> row(Response response) {
        return List.of(
                response.dataSource(),
                response.prompt(),
                String.valueOf(response.image()),
                response.groundTruth());
    }

    /// How many rows went how.
    static Map<Outcome, Integer> count(List<Pair> pairs) {
        Map<Outcome, Integer> counts = new EnumMap<>(Outcome.class);
        for (Pair pair : pairs) {
            counts.merge(pair.outcome(), 1, Integer::sum);
        }
        return counts;
    }

    /// Picks rows.
    ///
    /// @param most how many
    static List<Pair> pick(List<Pair> pairs, int most) {
        List<Pair> left = new ArrayList<>(pairs);
        List<Pair> picked = new ArrayList<>();
        Map<String, Integer> subjects = new HashMap<>();
        for (int i = 0; picked.size() < most && !left.isEmpty(); i++) {
            @Nullable Outcome wanted = i < WANTED.size() ? WANTED.get(i) : null;
            @Nullable Pair best = null;
            for (Pair pair : left) {
                boolean fits = wanted == null || pair.outcome() == wanted;
                if (fits && (best == null || rank(pair, subjects) < rank(best, subjects))) {
                    best = pair;
                }
            }
            if (best != null) {
                left.remove(best);
                picked.add(best);
                subjects.merge(best.after().dataSource(), 1, Integer::sum);
            }
        }
        return picked;
    }

    /// Subjects that were shown less come first, then rows with critical tokens.
    private static int rank(Pair pair, Map<String, Integer> subjects) {
        return 2 * subjects.getOrDefault(pair.after().dataSource(), 0)
                + (pair.hasCritical() ? 0 : 1);
    }
}
