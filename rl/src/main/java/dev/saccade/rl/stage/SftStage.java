package dev.saccade.rl.stage;

import dev.saccade.kernels.DType;
import dev.saccade.model.Prompt;
import dev.saccade.model.TrainingBatch;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.rollout.EncodedPrompt;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Supervised training: cross-entropy on the tokens of the rows' responses and the token that ends
/// them, averaged over the tokens of the whole batch. Micro-batches divide by the whole batch's
/// count too, so how many there are does not change what is computed.
public final class SftStage implements Stage {
    private final StageContext context;
    private final RowOrder order;

    /// A supervised stage.
    public SftStage(StageContext context) {
        this.context = context;
        this.order = context.order();
    }

    @Override
    public StepReport step(int stageStep, long step) {
        long start = System.nanoTime();
        StageRecipe stage = context.stage();
        List<Prompt> prompts = new ArrayList<>();
        List<int[]> responses = new ArrayList<>();
        long promptTokens = 0;
        long responseTokens = 0;
        for (Row row : order.batch(stageStep)) {
            EncodedPrompt encoded = context.encoder().prompt(row, stage.maxPromptLength());
            int[] response = context.encoder().response(row, stage.maxResponseLength());
            prompts.add(encoded.prompt());
            responses.add(response);
            promptTokens += encoded.prompt().tokens().length;
            responseTokens += response.length;
        }
        double loss = accumulate(prompts, responses, responseTokens);
        Checks.finite("the loss", loss, stage, stageStep);
        AdamW.StepResult result = context.optimizer().step(context.learningRate(stageStep), 1);
        Checks.finite("the gradient's norm", result.gradNorm(), stage, stageStep);
        double seconds = (System.nanoTime() - start) / 1e9;

        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("train/loss", loss);
        metrics.put("actor/grad_norm", result.gradNorm());
        metrics.put("actor/lr", result.lr());
        metrics.put("training/epoch", order.epochs(stageStep));
        metrics.put("response_length/mean", (double) responseTokens / responses.size());
        metrics.put("prompt_length/mean", (double) promptTokens / prompts.size());
        Throughput.put(metrics, promptTokens + responseTokens, seconds);
        return new StepReport(metrics, Map.of(), List.of(), List.of(), StepReport.Difference.NONE);
    }

    /// Adds the batch's gradients to the parameters'; they start at zero.
    ///
    /// @param responseTokens of the whole batch
    /// @return the mean loss of a response token
    double accumulate(List<Prompt> prompts, List<int[]> responses, long responseTokens) {
        context.optimizer().zeroGradients();
        int micro = context.stage().microBatchSize();
        // All log-probabilities are read once, at the end: the device need not wait for the host.
        try (Tape results = Tape.inference(context.model().kernels())) {
            long total = responses.stream().mapToLong(response -> response.length).sum();
            Tensor all = results.empty(DType.F32, total);
            long done = 0;
            for (int from = 0; from < prompts.size(); from += micro) {
                int to = Math.min(from + micro, prompts.size());
                TrainingBatch batch =
                        TrainingBatch.pack(
                                context.model().config(),
                                prompts.subList(from, to),
                                responses.subList(from, to));
                int tokens = batch.targets().length;
                try (Tape tape = Tape.recording(context.model().kernels())) {
                    Tensor logProb = context.model().logProbs(tape, batch, 1).logProb();
                    all.slice(done, tokens).copyFrom(logProb);
                    float[] seed = new float[tokens];
                    Arrays.fill(seed, (float) (-1.0 / responseTokens));
                    tape.backward(logProb, tape.upload(seed, tokens));
                }
                done += tokens;
            }
            double sum = 0;
            for (float logProb : all.toFloats()) {
                sum -= logProb;
            }
            return sum / responseTokens;
        }
    }
}
