package dev.saccade.rl.stage;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.loss.PolicyLoss;
import dev.saccade.model.Prompt;
import dev.saccade.model.TrainingBatch;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.generate.FinishReason;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.rl.advantage.GroupAdvantage;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.entropy.EntropyStatistics;
import dev.saccade.rl.recipe.PolicyRecipe;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.rollout.EncodedPrompt;
import dev.saccade.rl.rollout.Purpose;
import dev.saccade.rl.rollout.Rollout;
import dev.saccade.rl.rollout.RolloutSampler;
import dev.saccade.rl.rollout.Rollouts;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Group Relative Policy Optimisation (Shao et al., 2402.03300) as verl computes it, with the
/// settings of the Skywork-R1V3 report as defaults: several responses of each prompt, advantages
/// normalised within the group, the clipped surrogate, no KL term, one gradient step for a batch.
///
/// The old log-probabilities are the sampler's own. Each step proves that they are the trainer's,
/// bit for bit ([SamplerCheck]), before it changes a weight.
///
/// A group whose rewards are all equal has no gradient: its responses count in the loss's
/// denominators, as in verl, but are not computed.
public final class GrpoStage implements Stage {
    private final StageContext context;
    private final PolicyRecipe policy;
    private final RowOrder order;
    private final RolloutSampler sampler;
    private final CriticalTokens critical;

    /// A GRPO stage.
    ///
    /// @param rewards scores responses; stays open
    /// @param critical which tokens are critical
    public GrpoStage(StageContext context, RewardRunner rewards, CriticalTokens critical) {
        @Nullable PolicyRecipe settings = context.stage().policy();
        if (settings == null) {
            throw new IllegalArgumentException(
                    "stage " + context.stage().name() + " has no policy settings");
        }
        this.context = context;
        this.policy = settings;
        this.order = context.order();
        this.sampler = new RolloutSampler(context.model(), context.encoder(), rewards);
        this.critical = critical;
    }

    @Override
    public StepReport step(int stageStep, long step) {
        long start = System.nanoTime();
        StageRecipe stage = context.stage();
        Rollouts sampled = sample(stageStep, step);
        int groupSize = policy.rollout().n();
        double[] rewardValues = sampled.rewards();
        double[] advantages =
                GroupAdvantage.compute(rewardValues, groupSize, policy.normAdvByStdInGrpo());
        long update = System.nanoTime();
        Update updated = accumulate(sampled.rollouts(), advantages, rewardValues, step);
        Checks.finite("the loss", updated.loss(), stage, stageStep);
        AdamW.StepResult result = context.optimizer().step(context.learningRate(stageStep), 1);
        Checks.finite("the gradient's norm", result.gradNorm(), stage, stageStep);
        long end = System.nanoTime();

        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("actor/pg_loss", updated.loss());
        metrics.put("actor/pg_clipfrac", updated.clippedShare());
        metrics.put("actor/pg_clipfrac_lower", updated.dualClippedShare());
        metrics.put("actor/grad_norm", result.gradNorm());
        metrics.put("actor/lr", result.lr());
        putRange(metrics, "critic/rewards", rewardValues);
        putRange(
                metrics,
                "critic/score",
                sampled.rollouts().stream().mapToDouble(r -> r.score().accuracy()).toArray());
        putRange(metrics, "critic/advantages", advantages);
        metrics.put(
                "reward/format",
                sampled.rollouts().stream()
                        .mapToDouble(r -> r.score().format())
                        .average()
                        .orElse(0));
        metrics.put("reward/failures", (double) sampled.failures());
        metrics.put("grpo/skipped_groups", (double) updated.skippedGroups());
        putLengths(metrics, sampled.rollouts());
        EntropyStatistics entropies = entropies(sampled.rollouts());
        Map<String, Double> entropyMetrics = entropies.toMetrics("");
        metrics.put("actor/entropy", entropyMetrics.getOrDefault("entropy/mean", 0.0));
        metrics.putAll(entropyMetrics);
        metrics.put("training/rollout_logprob_max_difference", updated.difference().logProb());
        metrics.put("training/rollout_entropy_max_difference", updated.difference().entropy());
        metrics.put("training/epoch", order.epochs(stageStep));
        metrics.put("timing_s/gen", sampled.generationNanos() / 1e9);
        metrics.put("timing_s/reward", sampled.rewardNanos() / 1e9);
        metrics.put("timing_s/update_actor", (end - update) / 1e9);
        Throughput.put(
                metrics, sampled.promptTokens() + sampled.responseTokens(), (end - start) / 1e9);
        return new StepReport(
                metrics,
                entropies.toHistograms(),
                sampled.rollouts(),
                Arrays.stream(advantages).boxed().toList(),
                updated.difference());
    }

    Rollouts sample(int stageStep, long step) {
        List<EncodedPrompt> prompts = new ArrayList<>();
        for (Row row : order.batch(stageStep)) {
            prompts.add(context.encoder().prompt(row, context.stage().maxPromptLength()));
        }
        SamplingOptions options =
                new SamplingOptions(
                                temperature(),
                                Math.max(policy.rollout().topK(), 0),
                                (float) policy.rollout().topP(),
                                context.stage().maxResponseLength(),
                                context.encoder().stopTokens())
                        .watching(critical.firstTokens());
        long seed = context.recipe().seed();
        return sampler.sample(
                prompts,
                policy.rollout().n(),
                options,
                (prompt, sample) -> Purpose.ROLLOUT.key(seed, step, prompt, sample));
    }

    private float temperature() {
        return (float) policy.rollout().temperature();
    }

    /// What the gradients were computed from.
    ///
    /// @param loss the policy loss of the whole batch
    /// @param clippedShare the share of trained tokens whose ratio was clipped
    /// @param dualClippedShare the share of trained tokens that the dual clip bound
    /// @param skippedGroups groups without a gradient
    /// @param difference of sampler and trainer
    record Update(
            double loss,
            double clippedShare,
            double dualClippedShare,
            int skippedGroups,
            StepReport.Difference difference) {}

    /// Adds the batch's gradients to the parameters'; they start at zero.
    Update accumulate(
            List<Rollout> rollouts, double[] advantages, double[] rewardValues, long step) {
        context.optimizer().zeroGradients();
        int[] lengths = rollouts.stream().mapToInt(r -> r.completion().tokens().length).toArray();
        float[] weights =
                policy.lossAggMode()
                        .weights(
                                lengths,
                                Arrays.stream(lengths).asLongStream().sum(),
                                rollouts.size(),
                                policy.lossScaleFactor());
        int[] starts = new int[lengths.length];
        for (int i = 1; i < lengths.length; i++) {
            starts[i] = starts[i - 1] + lengths[i - 1];
        }
        List<Integer> trained = trained(rewardValues);
        int skippedGroups = (rollouts.size() - trained.size()) / policy.rollout().n();
        if (trained.isEmpty()) {
            return new Update(0, 0, 0, skippedGroups, StepReport.Difference.NONE);
        }
        try (Tape memory = Tape.inference(context.model().kernels())) {
            Results results = new Results(memory, trained.stream().mapToInt(i -> lengths[i]).sum());
            int micro = context.stage().microBatchSize();
            for (int from = 0; from < trained.size(); from += micro) {
                List<Integer> members =
                        trained.subList(from, Math.min(from + micro, trained.size()));
                accumulate(rollouts, members, advantages, weights, starts, results);
            }
            return results.update(
                    trained.stream().map(rollouts::get).toList(),
                    skippedGroups,
                    new SamplerCheck(
                            "step %d, stage %s".formatted(step + 1, context.stage().name())));
        }
    }

    /// What the micro-batches compute for each trained token. It stays on the device until the last
    /// of them has been issued, and is read in one piece: the device never waits for the host.
    private static final class Results {
        private static final int KINDS = 4;

        private final int tokens;
        private final Tensor memory;
        private int done;

        Results(Tape tape, int tokens) {
            this.tokens = tokens;
            this.memory = tape.empty(DType.F32, KINDS, tokens);
        }

        /// The places of the next `count` tokens: log-probabilities, entropies, losses, and which
        /// clip bound.
        Places next(int count) {
            Tensor[] places = new Tensor[KINDS];
            for (int kind = 0; kind < KINDS; kind++) {
                places[kind] = memory.slice(kind, 1).view(tokens).slice(done, count);
            }
            done += count;
            return new Places(places[0], places[1], places[2], places[3]);
        }

        /// Waits for the device, compares sampler and trainer, and sums up.
        Update update(List<Rollout> trained, int skippedGroups, SamplerCheck check) {
            float[] values = memory.toFloats();
            StepReport.Difference difference =
                    check.compare(
                            trained,
                            Arrays.copyOfRange(values, 0, tokens),
                            Arrays.copyOfRange(values, tokens, 2 * tokens));
            double loss = 0;
            long clipped = 0;
            long dualClipped = 0;
            for (int i = 0; i < tokens; i++) {
                loss += values[2 * tokens + i];
                clipped += values[3 * tokens + i] == 1 ? 1 : 0;
                dualClipped += values[3 * tokens + i] == 2 ? 1 : 0;
            }
            double count = Math.max(1, tokens);
            return new Update(
                    loss, clipped / count, dualClipped / count, skippedGroups, difference);
        }
    }

    private record Places(Tensor logProb, Tensor entropy, Tensor loss, Tensor clipped) {}

    /// The rollouts that have a gradient: those of groups whose rewards differ. A group of one has
    /// its reward as its advantage.
    private List<Integer> trained(double[] rewardValues) {
        int groupSize = policy.rollout().n();
        List<Integer> trained = new ArrayList<>();
        for (int group = 0; group < rewardValues.length; group += groupSize) {
            boolean differ = groupSize == 1;
            for (int i = group + 1; i < group + groupSize; i++) {
                differ |= rewardValues[i] != rewardValues[group];
            }
            for (int i = group; differ && i < group + groupSize; i++) {
                trained.add(i);
            }
        }
        return trained;
    }

    private void accumulate(
            List<Rollout> rollouts,
            List<Integer> members,
            double[] advantages,
            float[] weights,
            int[] starts,
            Results results) {
        List<Rollout> batchRollouts = members.stream().map(rollouts::get).toList();
        List<Prompt> prompts = batchRollouts.stream().map(Rollout::prompt).toList();
        List<int[]> completions = batchRollouts.stream().map(r -> r.completion().tokens()).toList();
        TrainingBatch batch = TrainingBatch.pack(context.model().config(), prompts, completions);
        int tokens = batch.targets().length;
        float[] old = new float[tokens];
        float[] advantage = new float[tokens];
        float[] weight = new float[tokens];
        int at = 0;
        for (int index : members) {
            float[] sampled = rollouts.get(index).completion().logProbs();
            System.arraycopy(sampled, 0, old, at, sampled.length);
            System.arraycopy(weights, starts[index], weight, at, sampled.length);
            Arrays.fill(advantage, at, at + sampled.length, (float) advantages[index]);
            at += sampled.length;
        }
        Kernels kernels = context.model().kernels();
        PolicyLoss.Clip clip =
                new PolicyLoss.Clip(
                        (float) policy.clipRatioLow(),
                        (float) policy.clipRatioHigh(),
                        (float) policy.clipRatioC());
        try (Tape tape = Tape.recording(kernels)) {
            Tape.LogProbs logProbs = context.model().logProbs(tape, batch, temperature());
            Places places = results.next(tokens);
            places.logProb().copyFrom(logProbs.logProb());
            places.entropy().copyFrom(logProbs.entropy());
            Tensor gradient = tape.empty(DType.F32, tokens);
            kernels.policyLoss()
                    .clippedSurrogate(
                            tokens,
                            clip,
                            logProbs.logProb().span(),
                            tape.upload(old, tokens).span(),
                            tape.upload(advantage, tokens).span(),
                            tape.upload(weight, tokens).span(),
                            places.loss().span(),
                            gradient.span(),
                            places.clipped().span());
            tape.backward(logProbs.logProb(), gradient);
        }
    }

    private static void putRange(Map<String, Double> metrics, String name, double[] values) {
        metrics.put(name + "/mean", Arrays.stream(values).average().orElse(0));
        metrics.put(name + "/max", Arrays.stream(values).max().orElse(0));
        metrics.put(name + "/min", Arrays.stream(values).min().orElse(0));
    }

    private static void putLengths(Map<String, Double> metrics, List<Rollout> rollouts) {
        putRange(
                metrics,
                "response_length",
                rollouts.stream().mapToDouble(r -> r.completion().tokens().length).toArray());
        metrics.put(
                "response_length/clip_ratio",
                rollouts.stream()
                        .mapToDouble(r -> r.completion().reason() == FinishReason.LENGTH ? 1 : 0)
                        .average()
                        .orElse(0));
        putRange(
                metrics,
                "prompt_length",
                rollouts.stream().mapToDouble(r -> r.prompt().tokens().length).toArray());
    }

    /// Entropies over all sampled tokens, those of skipped groups included, each token once.
    private EntropyStatistics entropies(List<Rollout> rollouts) {
        EntropyStatistics statistics = new EntropyStatistics(critical, context.recipe().entropy());
        for (Rollout rollout : rollouts) {
            statistics.add(
                    rollout.row().dataSource(),
                    rollout.score().accuracy() > 0,
                    rollout.completion());
        }
        return statistics;
    }
}
