package dev.saccade.rl.stage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.Kernels;
import dev.saccade.model.Prompt;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.reward.RuleReward;
import dev.saccade.rl.rollout.Rollout;
import dev.saccade.rl.rollout.RowEncoder;
import dev.saccade.rl.run.SmallRun;
import dev.saccade.rl.task.DigitsTask;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Parameter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

final class StageGradientTest {
    @TempDir Path data;

    /// What a batch's gradients were computed from, and the gradients.
    private record Result(double loss, Map<String, float[]> gradients) {}

    private interface Work<T> {
        T on(StageContext context);
    }

    /// Does something with a stage of a freshly made model.
    private <T> T withStage(Kernels kernels, int index, Work<T> work, String... overrides) {
        Recipe recipe = SmallRun.recipe(data, overrides);
        StageRecipe stage = recipe.stages().get(index);
        Tokenizer tokenizer = DigitsTask.tokenizer();
        int image = tokenizer.id(ChatTemplate.IMAGE_TOKEN).orElseThrow();
        try (VisionLanguageModel model =
                VisionLanguageModel.initialize(
                        recipe.model().config(tokenizer.size(), image, List.of()), kernels, 3)) {
            model.parameters().forEach(p -> p.trainable(stage.trainable().contains(p.group())));
            try (AdamW optimizer =
                    new AdamW(kernels, model.parameters(), stage.optim().settings())) {
                return work.on(
                        new StageContext(
                                model,
                                new RowEncoder(model.config(), tokenizer, ChatTemplate.TINY, 1),
                                optimizer,
                                recipe,
                                stage,
                                index,
                                DataSet.read(data.resolve(stage.data()))));
            }
        }
    }

    private static Map<String, float[]> gradients(StageContext context) {
        Map<String, float[]> gradients = new TreeMap<>();
        for (Parameter parameter : context.model().parameters()) {
            if (parameter.trainable()) {
                gradients.put(parameter.name(), parameter.gradient().toFloats());
            }
        }
        return gradients;
    }

    private Result supervised(int microBatchSize) {
        return SmallRun.withWorkers(
                1,
                kernels ->
                        withStage(
                                kernels,
                                0,
                                context -> {
                                    List<Prompt> prompts = new ArrayList<>();
                                    List<int[]> responses = new ArrayList<>();
                                    long tokens = 0;
                                    for (int i = 0; i < 7; i++) {
                                        prompts.add(
                                                context.encoder()
                                                        .prompt(context.data().row(i), 100)
                                                        .prompt());
                                        responses.add(
                                                Arrays.copyOf(
                                                        context.encoder()
                                                                .response(
                                                                        context.data().row(i), 100),
                                                        2 + i % 5));
                                        tokens += responses.getLast().length;
                                    }
                                    double loss =
                                            new SftStage(context)
                                                    .accumulate(prompts, responses, tokens);
                                    return new Result(loss, gradients(context));
                                },
                                "stages.first.micro_batch_size=" + microBatchSize));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 4})
    void supervisedMicroBatchesAddUpToTheBatch(int microBatchSize) {
        assertClose(supervised(microBatchSize), supervised(7));
    }

    private Result reinforced(int workers, int microBatchSize, String mode) {
        return SmallRun.withWorkers(
                workers,
                kernels ->
                        withStage(
                                kernels,
                                1,
                                context ->
                                        withGrpo(
                                                context,
                                                stage -> {
                                                    List<Rollout> rollouts =
                                                            stage.sample(0, 0).rollouts();
                                                    double loss =
                                                            stage.accumulate(
                                                                            rollouts,
                                                                            ADVANTAGES,
                                                                            REWARDS,
                                                                            0)
                                                                    .loss();
                                                    return new Result(loss, gradients(context));
                                                }),
                                "stages.rl.micro_batch_size=" + microBatchSize,
                                "stages.rl.loss_agg_mode=" + mode));
    }

    private static final double[] ADVANTAGES = {1, -1, 0.5, -0.5, 0, 0, 0, 0, 2, -1, -1, 0.3};
    private static final double[] REWARDS = {1, 0, 0.8, 0.2, 1, 1, 1, 1, 1, 0, 0, 0.2};

    private interface GrpoWork<T> {
        T on(GrpoStage stage);
    }

    private static <T> T withGrpo(StageContext context, GrpoWork<T> work) {
        Recipe recipe = context.recipe();
        try (RewardRunner rewards =
                new RewardRunner(new RuleReward(), recipe.reward().deadline(), 1)) {
            return work.on(
                    new GrpoStage(
                            context,
                            rewards,
                            CriticalTokens.of(
                                    recipe.entropy().criticalWords(),
                                    context.encoder().tokenizer())));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "seq-mean-token-mean, 1",
        "seq-mean-token-mean, 4",
        "token-mean, 4",
        "token-sum, 5",
        "seq-mean-token-sum, 4",
        "seq-mean-token-sum-norm, 3"
    })
    void reinforcedMicroBatchesAddUpToTheBatch(String mode, int microBatchSize) {
        Result whole = reinforced(1, 12, mode);
        assertClose(reinforced(1, microBatchSize, mode), whole);
        assertThat(whole.gradients().values()).anyMatch(gradient -> gradient[0] != 0);
    }

    /// The sampled log-probabilities pass the comparison with the trainer's on any number of
    /// workers, and so do the gradients' bits.
    @Test
    void workersChangeNoBit() {
        Result one = reinforced(1, 5, "token-mean");
        Result two = reinforced(2, 5, "token-mean");
        one.gradients()
                .forEach((name, values) -> assertThat(two.gradients().get(name)).isEqualTo(values));
    }

    @Test
    void aSampledLogProbabilityThatIsNotTheTrainersEndsTheRun() {
        assertThatThrownBy(() -> SmallRun.withWorkers(1, kernels -> tampered(kernels, true)))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("the sampler and the trainer disagree (step 4, stage rl)")
                .hasMessageContaining("log-probability of token 1")
                .hasMessageContaining("rl.jsonl");
        assertThatThrownBy(() -> SmallRun.withWorkers(1, kernels -> tampered(kernels, false)))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("entropy of token 1");
    }

    private Object tampered(Kernels kernels, boolean logProb) {
        return withStage(
                kernels,
                1,
                context ->
                        withGrpo(
                                context,
                                stage -> {
                                    List<Rollout> rollouts = stage.sample(0, 0).rollouts();
                                    Completion completion = rollouts.get(2).completion();
                                    float[] values =
                                            logProb
                                                    ? completion.logProbs()
                                                    : completion.entropies();
                                    values[1] = Math.nextUp(values[1]);
                                    return stage.accumulate(rollouts, ADVANTAGES, REWARDS, 3);
                                }));
    }

    @Test
    void aGroupWithEqualRewardsHasNoGradient() {
        Result result =
                SmallRun.withWorkers(
                        1,
                        kernels ->
                                withStage(
                                        kernels,
                                        1,
                                        context ->
                                                withGrpo(
                                                        context,
                                                        stage -> {
                                                            GrpoStage.Update update =
                                                                    stage.accumulate(
                                                                            stage.sample(0, 0)
                                                                                    .rollouts(),
                                                                            new double[12],
                                                                            new double[12],
                                                                            0);
                                                            assertThat(update.skippedGroups())
                                                                    .isEqualTo(3);
                                                            return new Result(
                                                                    update.loss(),
                                                                    gradients(context));
                                                        })));
        assertThat(result.loss()).isZero();
        result.gradients().values().forEach(values -> assertThat(values).containsOnly(0));
    }

    private static void assertClose(Result found, Result expected) {
        assertThat(found.loss())
                .isCloseTo(expected.loss(), within(1e-6 * Math.max(1, Math.abs(expected.loss()))));
        assertThat(found.gradients().keySet()).isEqualTo(expected.gradients().keySet());
        double difference = 0;
        double norm = 0;
        for (Map.Entry<String, float[]> entry : expected.gradients().entrySet()) {
            float[] values = found.gradients().getOrDefault(entry.getKey(), new float[0]);
            assertThat(values).hasSameSizeAs(entry.getValue());
            for (int i = 0; i < values.length; i++) {
                difference += Math.pow((double) values[i] - entry.getValue()[i], 2);
                norm += Math.pow(entry.getValue()[i], 2);
            }
        }
        assertThat(norm).isPositive();
        assertThat(Math.sqrt(difference / norm)).isLessThan(1e-6);
    }
}
