package dev.saccade.rl.evaluation;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.Kernels;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.recipe.EntropyRecipe;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.reward.Reward;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.reward.Sample;
import dev.saccade.rl.reward.Score;
import dev.saccade.rl.rollout.Rollout;
import dev.saccade.rl.rollout.RowEncoder;
import dev.saccade.rl.run.SmallRun;
import dev.saccade.rl.task.DigitsTask;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class EvaluatorTest {
    @TempDir Path data;

    /// Right on one of the two sources, failing on the other.
    private static final class SourceReward implements Reward {
        @Override
        public Score score(Sample sample) {
            if (sample.dataSource().equals("third")) {
                return new Score(1, 1, 1, "1");
            }
            throw new IllegalStateException("no score for " + sample.dataSource());
        }

        @Override
        public String name() {
            return "source";
        }
    }

    private Evaluation evaluate(Kernels kernels, String... overrides) {
        Recipe recipe = SmallRun.recipe(data, overrides);
        Tokenizer tokenizer = DigitsTask.tokenizer();
        int image = tokenizer.id(ChatTemplate.IMAGE_TOKEN).orElseThrow();
        try (VisionLanguageModel model =
                        VisionLanguageModel.initialize(
                                recipe.model().config(tokenizer.size(), image, List.of()),
                                kernels,
                                3);
                RewardRunner rewards =
                        new RewardRunner(new SourceReward(), Duration.ofSeconds(10), 2)) {
            Evaluator evaluator =
                    new Evaluator(
                            model,
                            new RowEncoder(model.config(), tokenizer, ChatTemplate.TINY, 1),
                            DataSet.read(data.resolve("eval.jsonl")),
                            recipe.evaluation(),
                            recipe.entropy(),
                            rewards,
                            100,
                            recipe.seed());
            return evaluator.evaluate(true);
        }
    }

    private static List<String> responses(Evaluation evaluation) {
        return evaluation.rollouts().stream().map(Rollout::response).toList();
    }

    @Test
    void accuracyIsCountedBySourceAndFailuresAreCounted() {
        Evaluation evaluation =
                SmallRun.withWorkers(1, kernels -> evaluate(kernels, "evaluation.n=2"));
        assertThat(evaluation.accuracy())
                .containsExactlyInAnyOrderEntriesOf(
                        Map.of("all", 1 / 3.0, "third", 1.0, "other", 0.0));
        assertThat(evaluation.greedyAccuracy()).isEqualTo(evaluation.accuracy());
        assertThat(evaluation.metrics())
                .containsEntry("val-core/third/acc/mean@2", 1.0)
                .containsEntry("val-aux/all/greedy_acc/mean@1", 1 / 3.0)
                .containsEntry("reward/failures", 8.0 * 2 + 8);
        assertThat(evaluation.rollouts()).hasSize(3);
    }

    @Test
    void theBatchSizeChangesNoAnswer() {
        Evaluation one =
                SmallRun.withWorkers(
                        1,
                        kernels ->
                                evaluate(
                                        kernels,
                                        "evaluation.batch_size=1",
                                        "evaluation.rollouts=12"));
        Evaluation all =
                SmallRun.withWorkers(
                        2,
                        kernels ->
                                evaluate(
                                        kernels,
                                        "evaluation.batch_size=100",
                                        "evaluation.rollouts=12"));
        assertThat(responses(all)).isEqualTo(responses(one)).hasSize(12);
        assertThat(all.meanEntropy()).isEqualTo(one.meanEntropy());
        assertThat(all.metrics().get("entropy/critical_mass/mean"))
                .isEqualTo(one.metrics().get("entropy/critical_mass/mean"))
                .isBetween(0.0, 1.0);
        assertThat(all.histograms().keySet()).isEqualTo(one.histograms().keySet());
        all.histograms()
                .forEach((name, counts) ->
                        assertThat(one.histograms().get(name)).as(name).isEqualTo(counts));
        assertThat(all.histograms().get("entropy/histogram"))
                .hasSameSizeAs(EntropyRecipe.DEFAULT_HISTOGRAM_EDGES.toArray());
    }

    @Test
    void theFirstRowsOfEachSourceAreAsked() {
        Evaluation evaluation =
                SmallRun.withWorkers(
                        1,
                        kernels ->
                                evaluate(kernels, "evaluation.rows=2", "evaluation.rollouts=99"));
        assertThat(evaluation.rollouts())
                .extracting(rollout -> rollout.row().dataSource())
                .containsExactly("third", "other", "other", "third");
    }
}
