package dev.saccade.rl.rollout;

import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Progress;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.reward.Sample;
import java.util.ArrayList;
import java.util.List;

/// Samples responses and scores them.
public final class RolloutSampler {

    /// The random key of a sample.
    @FunctionalInterface
    public interface Keys {
        /// The key of one sample.
        ///
        /// @param prompt the prompt's place in the list
        /// @param sample which of its samples
        long key(int prompt, int sample);
    }

    private final Generator generator;
    private final RowEncoder encoder;
    private final RewardRunner rewards;

    /// A sampler of a model.
    ///
    /// @param model what samples; its weights are used as they are at each call
    /// @param encoder renders prompts and decodes responses
    /// @param rewards scores responses
    public RolloutSampler(VisionLanguageModel model, RowEncoder encoder, RewardRunner rewards) {
        this.generator = new Generator(model);
        this.encoder = encoder;
        this.rewards = rewards;
    }

    /// Samples `n` responses of each prompt.
    ///
    /// @param options how; its stop tokens are set by the encoder's [RowEncoder#stopTokens()]
    public Rollouts sample(List<EncodedPrompt> prompts, int n, SamplingOptions options, Keys keys) {
        long start = System.nanoTime();
        List<Request> requests = new ArrayList<>(prompts.size() * n);
        for (int p = 0; p < prompts.size(); p++) {
            for (int s = 0; s < n; s++) {
                requests.add(new Request(prompts.get(p).prompt(), keys.key(p, s)));
            }
        }
        List<Completion> completions = generator.generate(requests, options, Progress.NONE);
        long generated = System.nanoTime();
        List<String> responses = new ArrayList<>(completions.size());
        List<Sample> samples = new ArrayList<>(completions.size());
        for (int i = 0; i < completions.size(); i++) {
            EncodedPrompt prompt = prompts.get(i / n);
            String response = encoder.decode(completions.get(i));
            responses.add(response);
            samples.add(
                    new Sample(
                            prompt.row().dataSource(),
                            prompt.text(),
                            response,
                            prompt.row().groundTruth(),
                            prompt.row().extraInfo()));
        }
        List<RewardRunner.Scored> scored = rewards.score(samples);
        List<Rollout> rollouts = new ArrayList<>(completions.size());
        int failures = 0;
        for (int i = 0; i < completions.size(); i++) {
            EncodedPrompt prompt = prompts.get(i / n);
            if (scored.get(i).failure() != null) {
                failures++;
            }
            rollouts.add(
                    new Rollout(
                            prompt.row(),
                            prompt.text(),
                            prompt.prompt(),
                            completions.get(i),
                            responses.get(i),
                            scored.get(i).score()));
        }
        return new Rollouts(rollouts, failures, generated - start, System.nanoTime() - generated);
    }
}
