package dev.saccade.model.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import dev.saccade.model.NormType;
import dev.saccade.model.Prompt;
import dev.saccade.model.SmallModels;
import dev.saccade.model.TrainingBatch;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// What is sampled, and that its log-probabilities and entropies are the trainer's, bit for bit, on
/// every device.
@Tag("device")
@ParameterizedClass
@EnumSource(Target.class)
class GeneratorTest {
    private static final int[] STOPS = {3, 11};

    private final Target target;
    private final Buffers buffers;

    GeneratorTest(Target target) {
        this.target = target;
        this.buffers = target.open();
    }

    @AfterEach
    void close() {
        buffers.close();
    }

    private VisionLanguageModel model(VisionLanguageConfig config, long seed) {
        return SmallModels.random(config, Kernels.of(buffers.device()), target, seed);
    }

    @ParameterizedTest
    @CsvSource({
        "LAYER_NORM, 1, 1.0, 0, 1.0",
        "LAYER_NORM, 2, 0.7, 0, 1.0",
        "LAYER_NORM, 7, 0.7, 0, 1.0",
        "LAYER_NORM, 64, 1.0, 0, 1.0",
        "RMS_NORM, 1, 1.3, 0, 1.0",
        "RMS_NORM, 3, 1.0, 5, 0.9",
        "RMS_NORM, 64, 0.9, 0, 1.0",
        "RMS_NORM, 64, 0.0, 0, 1.0",
    })
    void theTrainerComputesTheSamplersBits(
            NormType variant, int batch, float temperature, int topK, float topP) {
        VisionLanguageConfig config = SmallModels.config(variant);
        SamplingOptions options = new SamplingOptions(temperature, topK, topP, 45, STOPS);
        List<Request> requests = requests(config, batch);
        List<Completion> completions;
        try (VisionLanguageModel model = model(config, 21)) {
            completions = new Generator(model).generate(requests, options, Progress.NONE);
            assertTrainerAgrees(model, requests, completions, temperature);
            assertSame(
                    new Generator(model).generate(requests, options, Progress.NONE), completions);
        }
        if (!target.isCuda()) {
            try (HostDevice one = HostDevice.open(1);
                    VisionLanguageModel model =
                            SmallModels.random(config, Kernels.of(one), target, 21)) {
                assertSame(
                        new Generator(model).generate(requests, options, Progress.NONE),
                        completions);
            }
        }
    }

    @Test
    void theTinyModelOfTheQuickStartAgreesToo() {
        VisionLanguageConfig config = VisionLanguageConfig.tiny(136, 7, List.of(5, 6));
        SamplingOptions options = new SamplingOptions(1, 0, 1, 48, STOPS);
        List<Request> requests = requests(config, 64);
        try (VisionLanguageModel model =
                VisionLanguageModel.initialize(
                        config, Kernels.of(buffers.device()), SmallModels.type(target), 1)) {
            List<Completion> completions =
                    new Generator(model).generate(requests, options, Progress.NONE);
            assertTrainerAgrees(model, requests, completions, 1);
        }
    }

    @ParameterizedTest
    @EnumSource
    void aCompletionDoesNotDependOnTheOthers(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        SamplingOptions options = new SamplingOptions(1, 0, 1, 30, STOPS);
        List<Request> requests = requests(config, 17);
        try (VisionLanguageModel model = model(config, 22)) {
            List<Completion> together =
                    new Generator(model).generate(requests, options, Progress.NONE);
            List<Completion> alone = new ArrayList<>();
            for (Request request : requests) {
                alone.addAll(
                        new Generator(model).generate(List.of(request), options, Progress.NONE));
            }
            assertSame(alone, together);
            assertSame(
                    new Generator(model)
                            .generate(requests.reversed(), options, Progress.NONE)
                            .reversed(),
                    together);
            long fourSequences =
                    4L * 80 * KvCache.bytesPerToken(config.text(), model.type().dtype());
            assertSame(
                    new Generator(model, fourSequences).generate(requests, options, Progress.NONE),
                    together);
            assertSame(
                    new Generator(model, 1).generate(requests, options, Progress.NONE), together);
        }
    }

    /// Prompts of several pages of the cache, at whose end and within which they end, sampled a few
    /// times each: whether requests read them together or each alone, or in other waves.
    @ParameterizedTest
    @EnumSource
    void aSharedPromptDoesNotShow(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        SamplingOptions options = new SamplingOptions(1, 0, 1, 70, STOPS);
        Random random = new Random(32);
        int[] lengths = {128, 131, 20, 64, 150};
        int[] samples = {4, 5, 3, 2, 1};
        List<Request> requests = new ArrayList<>();
        for (int p = 0; p < lengths.length; p++) {
            Prompt prompt = SmallModels.prompt(config, lengths[p], 0, random);
            assertThat(prompt.tokens()).hasSize(lengths[p]);
            for (int i = 0; i < samples[p]; i++) {
                requests.add(new Request(prompt, 100L * p + i));
            }
        }
        // Requests of a prompt need not come one after the other.
        Collections.shuffle(requests, random);
        try (VisionLanguageModel model = model(config, 36)) {
            long wave = Generator.DEFAULT_WAVE_BYTES;
            List<Completion> together =
                    new Generator(model, wave, 0).generate(requests, options, Progress.NONE);
            assertTrainerAgrees(model, requests, together, 1);
            assertSame(
                    new Generator(model, wave, Long.MAX_VALUE)
                            .generate(requests, options, Progress.NONE),
                    together);
            long fewPages = 9L * KvCache.bytesPerPage(config.text(), model.type().dtype());
            assertSame(
                    new Generator(model, fewPages, 0).generate(requests, options, Progress.NONE),
                    together);
        }
    }

    @Test
    void completionsEndAtAStopTokenOrAtTheirLength() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        List<Request> requests = requests(config, 40);
        try (VisionLanguageModel model = model(config, 23)) {
            List<Completion> completions =
                    new Generator(model)
                            .generate(
                                    requests,
                                    new SamplingOptions(1, 0, 1, 12, STOPS),
                                    Progress.NONE);
            assertThat(completions).hasSize(40);
            assertThat(completions)
                    .extracting(Completion::reason)
                    .contains(FinishReason.STOP, FinishReason.LENGTH);
            for (Completion completion : completions) {
                int[] tokens = completion.tokens();
                assertThat(completion.logProbs()).hasSize(tokens.length);
                assertThat(completion.entropies()).hasSize(tokens.length);
                for (int i = 0; i < tokens.length; i++) {
                    boolean stop = tokens[i] == STOPS[0] || tokens[i] == STOPS[1];
                    boolean last = i == tokens.length - 1;
                    assertThat(stop).isEqualTo(last && completion.reason() == FinishReason.STOP);
                    assertThat(tokens[i]).isNotIn(SmallModels.IMAGE_TOKEN, 7);
                }
                if (completion.reason() == FinishReason.LENGTH) {
                    assertThat(tokens).hasSize(12);
                }
            }
        }
    }

    @Test
    void greedyIsTheMostProbableTokenWhateverTheKey() {
        VisionLanguageConfig config = SmallModels.config(NormType.RMS_NORM);
        Prompt prompt = SmallModels.prompt(config, 6, 1, new Random(2));
        SamplingOptions greedy = new SamplingOptions(0, 0, 1, 20, new int[0]);
        SamplingOptions best = new SamplingOptions(1, 1, 1, 20, new int[0]);
        try (VisionLanguageModel model = model(config, 24)) {
            List<Request> requests = List.of(new Request(prompt, 1), new Request(prompt, 2));
            List<Completion> completions =
                    new Generator(model).generate(requests, greedy, Progress.NONE);
            assertThat(completions.get(1).tokens()).containsExactly(completions.get(0).tokens());
            assertSame(new Generator(model).generate(requests, best, Progress.NONE), completions);
        }
    }

    @Test
    void differentKeysGiveDifferentCompletions() {
        VisionLanguageConfig config = SmallModels.config(NormType.RMS_NORM);
        Prompt prompt = SmallModels.prompt(config, 6, 1, new Random(2));
        SamplingOptions options = new SamplingOptions(1, 0, 1, 30, new int[0]);
        try (VisionLanguageModel model = model(config, 24)) {
            List<Completion> completions =
                    new Generator(model)
                            .generate(
                                    List.of(
                                            new Request(prompt, 1),
                                            new Request(prompt, 2),
                                            new Request(prompt, 1)),
                                    options,
                                    Progress.NONE);
            assertThat(completions.get(1).tokens()).isNotEqualTo(completions.get(0).tokens());
            assertThat(completions.get(2).tokens()).containsExactly(completions.get(0).tokens());
        }
    }

    /// Everything that has a part in choosing tokens leaves the kept numbers the trainer's, and
    /// each completion its own.
    @ParameterizedTest
    @CsvSource({"1.0, 0, 1.0, 0.1, 1.0", "0.8, 6, 0.9, 0.02, 1.4", "0.0, 0, 1.0, 0.0, 1.2"})
    void theTrainerComputesTheBitsOfFilteredAndForcedTokens(
            float temperature, int topK, float topP, float minP, float penalty) {
        VisionLanguageConfig config = SmallModels.config(NormType.RMS_NORM);
        SamplingOptions options =
                new SamplingOptions(
                        temperature, topK, topP, minP, penalty, 30, STOPS, new int[] {9, 12});
        List<Request> requests = requests(config, 20);
        try (VisionLanguageModel model = model(config, 30)) {
            List<Completion> completions =
                    new Generator(model).generate(requests, options, forcing(20), Progress.NONE);
            assertTrainerAgrees(model, requests, completions, temperature);
            List<Completion> alone = new ArrayList<>();
            for (int i = 0; i < requests.size(); i++) {
                Completion completion = completions.get(i);
                if (completion.tokens().length > 3 && i % 3 == 0) {
                    assertThat(completion.tokens()[2]).isEqualTo(14);
                    assertThat(completion.tokens()[3]).isEqualTo(15);
                }
                assertThat(completion.tokens()).doesNotContain(9, 12, SmallModels.IMAGE_TOKEN);
                alone.addAll(
                        new Generator(model)
                                .generate(
                                        List.of(requests.get(i)),
                                        options,
                                        forcing(20).subList(i, i + 1),
                                        Progress.NONE));
            }
            assertSame(alone, completions);
            assertSame(
                    new Generator(model, 1).generate(requests, options, forcing(20), Progress.NONE),
                    completions);
        }
    }

    /// What is watched is kept beside the rest and changes none of it, however tokens are chosen.
    @ParameterizedTest
    @CsvSource({"1.0, 1.0", "0.0, 1.0", "0.8, 1.4"})
    void theMassOfWatchedTokensIsKept(float temperature, float penalty) {
        VisionLanguageConfig config = SmallModels.config(NormType.RMS_NORM);
        SamplingOptions options =
                new SamplingOptions(temperature, 0, 1, 0, penalty, 20, STOPS, new int[] {9});
        List<Request> requests = requests(config, 12);
        int[] everything = IntStream.range(0, config.text().vocabSize()).toArray();
        try (VisionLanguageModel model = model(config, 31)) {
            Generator generator = new Generator(model);
            List<Completion> plain = generator.generate(requests, options, Progress.NONE);
            assertThat(plain).allMatch(completion -> completion.masses().length == 0);
            List<Completion> all =
                    generator.generate(requests, options.watching(everything), Progress.NONE);
            assertSame(all, plain);
            for (Completion completion : all) {
                assertThat(completion.masses()).hasSameSizeAs(completion.tokens());
                assertThat(completion.masses()).containsOnly(1f);
            }
            // Each token that was drawn, watched alone, has its own probability as its mass.
            Completion first = plain.getFirst();
            for (int token : Arrays.stream(first.tokens()).distinct().toArray()) {
                SamplingOptions watching = options.watching(new int[] {token});
                List<Completion> watched = generator.generate(requests, watching, Progress.NONE);
                assertSame(watched, plain);
                for (int i = 0; i < first.tokens().length; i++) {
                    if (first.tokens()[i] == token) {
                        assertThat((double) watched.getFirst().masses()[i])
                                .isCloseTo(Math.exp(first.logProbs()[i]), within(2e-6));
                    }
                }
                List<Completion> alone =
                        new Generator(model, 1).generate(requests, watching, Progress.NONE);
                for (int i = 0; i < alone.size(); i++) {
                    assertThat(alone.get(i).masses()).isEqualTo(watched.get(i).masses());
                }
            }
        }
    }

    /// Guides of which every third forces the third and fourth token.
    private static List<Guide> forcing(int count) {
        List<Guide> guides = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            boolean forces = i % 3 == 0;
            int[] followed = {0};
            guides.add(_ -> {
                int next = ++followed[0];
                return forces && (next == 2 || next == 3)
                        ? new Guide.Force(12 + next)
                        : Guide.Choice.DRAW;
            });
        }
        return guides;
    }

    /// The penalty step by step: the logits of the whole sequence computed anew, penalised in plain
    /// Java.
    @Test
    void thePenaltyKnowsThePromptAndWhatWasDrawn() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        Prompt prompt = SmallModels.prompt(config, 12, 1, new Random(8));
        float penalty = 1.7f;
        SamplingOptions options =
                new SamplingOptions(0, 0, 1, 0, penalty, 12, new int[0], new int[0]);
        try (VisionLanguageModel model = model(config, 33)) {
            int[] tokens =
                    new Generator(model)
                            .generate(List.of(new Request(prompt, 1)), options, Progress.NONE)
                            .getFirst()
                            .tokens();
            TrainingBatch batch = TrainingBatch.pack(config, List.of(prompt), List.of(tokens));
            float[] logits;
            try (Tape tape = Tape.inference(model.kernels())) {
                Tensor hidden =
                        model.hidden(tape, batch.batch(), model.visualTokens(tape, batch.pixels()));
                int rows = tokens.length;
                logits =
                        model.logits(
                                        tape,
                                        tape.takeRows(
                                                hidden, tape.upload(batch.predictionRows(), rows)))
                                .toFloats();
            }
            Set<Integer> seen = new HashSet<>();
            Arrays.stream(prompt.tokens()).forEach(seen::add);
            int vocab = config.text().vocabSize();
            boolean differs = false;
            for (int step = 0; step < tokens.length; step++) {
                int best = -1;
                int plain = -1;
                float most = Float.NEGATIVE_INFINITY;
                float plainMost = Float.NEGATIVE_INFINITY;
                for (int v = 0; v < vocab; v++) {
                    if (v == SmallModels.IMAGE_TOKEN || v == 7) {
                        continue;
                    }
                    float logit = logits[step * vocab + v];
                    if (logit > plainMost) {
                        plainMost = logit;
                        plain = v;
                    }
                    if (seen.contains(v)) {
                        logit = logit < 0 ? logit * penalty : logit / penalty;
                    }
                    if (logit > most) {
                        most = logit;
                        best = v;
                    }
                }
                assertThat(tokens[step]).isEqualTo(best);
                differs |= plain != best;
                seen.add(best);
            }
            assertThat(differs).as("the penalty changes something").isTrue();
        }
    }

    @Test
    void aGuideSeesEveryTokenAndMayEndItsCompletion() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        List<Request> requests = requests(config, 4);
        SamplingOptions options = new SamplingOptions(1, 0, 1, 20, STOPS);
        try (VisionLanguageModel model = model(config, 34)) {
            List<Completion> free = new Generator(model).generate(requests, options, Progress.NONE);
            List<List<Integer>> followed = new ArrayList<>();
            List<Guide> guides = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                List<Integer> tokens = new ArrayList<>();
                followed.add(tokens);
                int most = 2 + 5 * i;
                guides.add(token -> {
                    tokens.add(token);
                    return tokens.size() == most ? Guide.Choice.STOP : Guide.Choice.DRAW;
                });
            }
            List<Completion> guided =
                    new Generator(model).generate(requests, options, guides, Progress.NONE);
            for (int i = 0; i < 4; i++) {
                int[] tokens = guided.get(i).tokens();
                assertThat(followed.get(i))
                        .containsExactlyElementsOf(Arrays.stream(tokens).boxed().toList());
                int most = 2 + 5 * i;
                int[] all = free.get(i).tokens();
                assertThat(tokens).containsExactly(Arrays.copyOf(all, Math.min(most, all.length)));
                if (all.length > most) {
                    assertThat(guided.get(i).reason()).isEqualTo(FinishReason.GUIDE);
                }
            }
            assertThatThrownBy(() ->
                            new Generator(model)
                                    .generate(
                                            requests, options, guides.subList(0, 1), Progress.NONE))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void theFirstTokenCanBeForced() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        Guide guide =
                new Guide() {
                    @Override
                    public Next begin() {
                        return new Force(17);
                    }

                    @Override
                    public Next follow(int token) {
                        return Choice.DRAW;
                    }
                };
        try (VisionLanguageModel model = model(config, 35)) {
            List<Request> requests = requests(config, 1);
            List<Completion> completions =
                    new Generator(model)
                            .generate(
                                    requests,
                                    new SamplingOptions(1, 0, 1, 5, new int[0]),
                                    List.of(guide),
                                    Progress.NONE);
            assertThat(completions.getFirst().tokens()[0]).isEqualTo(17);
            assertTrainerAgrees(model, requests, completions, 1);
        }
    }

    @Test
    void progressCountsUpToTheEnd() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        List<long[]> reports = new ArrayList<>();
        try (VisionLanguageModel model = model(config, 25)) {
            List<Completion> completions =
                    new Generator(model, 1)
                            .generate(
                                    requests(config, 5),
                                    new SamplingOptions(1, 0, 1, 6, STOPS),
                                    (finished, total, tokens) ->
                                            reports.add(new long[] {finished, total, tokens}));
            long tokens = completions.stream().mapToLong(c -> c.tokens().length).sum();
            assertThat(reports.getLast()).containsExactly(5, 5, tokens);
        }
        for (int i = 1; i < reports.size(); i++) {
            assertThat(reports.get(i)[0]).isGreaterThanOrEqualTo(reports.get(i - 1)[0]);
            assertThat(reports.get(i)[2]).isGreaterThan(reports.get(i - 1)[2]);
        }
    }

    @Test
    void noRequestsGiveNoCompletions() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        try (VisionLanguageModel model = model(config, 26)) {
            assertThat(
                            new Generator(model)
                                    .generate(
                                            List.of(),
                                            new SamplingOptions(1, 0, 1, 6, STOPS),
                                            Progress.NONE))
                    .isEmpty();
        }
    }

    @Test
    void sequencesLongerThanTheModelAreRefusedAtOnce() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        Prompt prompt = SmallModels.prompt(config, 200, 0, new Random(1));
        try (VisionLanguageModel model = model(config, 27)) {
            assertThatThrownBy(() ->
                            new Generator(model)
                                    .generate(
                                            List.of(new Request(prompt, 1)),
                                            new SamplingOptions(1, 0, 1, 57, STOPS),
                                            Progress.NONE))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("exceed the model's 256 positions");
        }
    }

    @Test
    void generationGivesAllMemoryBack() {
        VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);
        try (VisionLanguageModel model = model(config, 28)) {
            SamplingOptions options = new SamplingOptions(1, 0, 1, 6, STOPS);
            // The first rounds are for what kernels keep, on CUDA the lists of the last sequences.
            for (int round = 0; round < 10; round++) {
                new Generator(model).generate(requests(config, 3), options, Progress.NONE);
            }
            long before = buffers.device().memory().usedBytes();
            new Generator(model).generate(requests(config, 3), options, Progress.NONE);
            assertThat(buffers.device().memory().usedBytes()).isEqualTo(before);
        }
    }

    /// Requests with and without images, of lengths on both sides of an attention block, some of
    /// which share a prompt.
    private static List<Request> requests(VisionLanguageConfig config, int count) {
        Random random = new Random(31);
        List<Prompt> prompts = new ArrayList<>();
        int[] lengths = {9, 1, 27, 28, 29, 33, 40};
        for (int i = 0; i < lengths.length; i++) {
            prompts.add(SmallModels.prompt(config, lengths[i], i % 3, random));
        }
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            requests.add(new Request(prompts.get(i * 3 / 2 % prompts.size()), 1000L + i));
        }
        return requests;
    }

    private static void assertTrainerAgrees(
            VisionLanguageModel model,
            List<Request> requests,
            List<Completion> completions,
            float samplingTemperature) {
        TrainingBatch batch =
                TrainingBatch.pack(
                        model.config(),
                        requests.stream().map(Request::prompt).toList(),
                        completions.stream().map(Completion::tokens).toList());
        try (Tape tape = Tape.recording(model.kernels())) {
            float temperature = samplingTemperature == 0 ? 1 : samplingTemperature;
            Tape.LogProbs trainer = model.logProbs(tape, batch, temperature);
            float[] logProbs = trainer.logProb().toFloats();
            float[] entropies = trainer.entropy().toFloats();
            int next = 0;
            for (Completion completion : completions) {
                for (int i = 0; i < completion.tokens().length; i++) {
                    assertThat(Float.floatToRawIntBits(completion.logProbs()[i]))
                            .isEqualTo(Float.floatToRawIntBits(logProbs[next]));
                    assertThat(Float.floatToRawIntBits(completion.entropies()[i]))
                            .isEqualTo(Float.floatToRawIntBits(entropies[next]));
                    assertThat(logProbs[next]).isFinite().isLessThanOrEqualTo(0);
                    assertThat(entropies[next]).isFinite();
                    next++;
                }
            }
            assertThat(next).isEqualTo(logProbs.length);
        }
    }

    private static void assertSame(List<Completion> actual, List<Completion> expected) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(actual.get(i).tokens()).containsExactly(expected.get(i).tokens());
            assertThat(actual.get(i).logProbs()).containsExactly(expected.get(i).logProbs());
            assertThat(actual.get(i).entropies()).containsExactly(expected.get(i).entropies());
            assertThat(actual.get(i).reason()).isEqualTo(expected.get(i).reason());
        }
    }
}
