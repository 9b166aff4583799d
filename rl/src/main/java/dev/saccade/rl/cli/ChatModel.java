package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.sampling.Philox;
import dev.saccade.model.Prompt;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatEncoder;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Guide;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.generate.TextGuide;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// A checkpoint that has been loaded to be asked: what `generate` and `chat` share.
final class ChatModel implements AutoCloseable {
    private static final double NANOS = 1e9;

    private final GenerationOptions how;
    private final Device device;
    private final VisionLanguageModel model;
    private final ChatEncoder encoder;
    private final int[] banned;
    private final String header;
    private final double loadSeconds;

    private ChatModel(
            GenerationOptions how,
            Device device,
            VisionLanguageModel model,
            ChatEncoder encoder,
            String header,
            double loadSeconds) {
        this.how = how;
        this.device = device;
        this.model = model;
        this.encoder = encoder;
        this.banned = how.bannedTokens(encoder.tokenizer());
        this.header = header;
        this.loadSeconds = loadSeconds;
    }

    /// One answer.
    ///
    /// @param completion its tokens
    /// @param text without special tokens and without the stop string
    /// @param stopString the stop string that ended it; null where none did
    record Answer(Completion completion, String text, @Nullable String stopString) {}

    /// Answers to one prompt, with the time they took.
    ///
    /// @param prefillSeconds until the first tokens were there
    /// @param decodeSeconds from then to the end
    /// @param tokensPerSecond tokens after the first ones in that time; 0 where there are none
    record Answers(
            List<Answer> answers,
            double prefillSeconds,
            double decodeSeconds,
            double tokensPerSecond) {}

    /// Loads a checkpoint.
    static ChatModel open(
            CommonOptions common, CheckpointOptions checkpoint, GenerationOptions how) {
        long start = System.nanoTime();
        ChatTemplate template = how.apply(checkpoint.template());
        Tokenizer tokenizer = Tokenizer.load(checkpoint.folder);
        Device device = common.open(null);
        try {
            VisionLanguageModel model =
                    VisionLanguageModel.load(
                            checkpoint.folder,
                            Kernels.of(device),
                            common.type(device),
                            new ByteProgress("load"));
            try {
                return new ChatModel(
                        how,
                        device,
                        model,
                        new ChatEncoder(model.config(), tokenizer, template, checkpoint.maxTiles),
                        common.header(device, model.type()),
                        (System.nanoTime() - start) / NANOS);
            } catch (RuntimeException e) {
                model.close();
                throw e;
            }
        } catch (RuntimeException e) {
            device.close();
            throw e;
        }
    }

    ChatEncoder encoder() {
        return encoder;
    }

    /// The line that says where the model computes.
    String header() {
        return header;
    }

    /// How long loading took.
    double loadSeconds() {
        return loadSeconds;
    }

    /// Lets the model answer.
    ///
    /// @param number the prompt's, which decides the random numbers together with the seed
    /// @param samples how many answers to draw
    /// @param sink receives the text of all answers as it becomes certain
    /// @param stop when true, the answers end
    Answers answer(
            Prompt prompt, long number, int samples, Consumer<String> sink, BooleanSupplier stop) {
        List<Request> requests = new ArrayList<>();
        List<TextGuide> texts = new ArrayList<>();
        List<Guide> guides = new ArrayList<>();
        for (int sample = 0; sample < samples; sample++) {
            requests.add(new Request(prompt, Philox.key(how.seed, 0, 0, number, sample)));
            TextGuide text = how.guide(encoder.template(), encoder.tokenizer(), sink);
            texts.add(text);
            guides.add(stoppable(text, stop));
        }
        SamplingOptions options =
                how.sampling(
                        how.maxNewTokens(
                                prompt.tokens().length,
                                model.config().text().maxPositionEmbeddings()),
                        new int[] {encoder.turnEnd()},
                        banned);
        long start = System.nanoTime();
        long[] first = {0, 0};
        List<Completion> completions =
                new Generator(model)
                        .generate(
                                requests,
                                options,
                                guides,
                                (_, _, tokens) -> {
                                    if (first[0] == 0) {
                                        first[0] = System.nanoTime();
                                        first[1] = tokens;
                                    }
                                });
        long end = System.nanoTime();
        List<Answer> answers = new ArrayList<>();
        long tokens = 0;
        for (int sample = 0; sample < samples; sample++) {
            TextGuide text = texts.get(sample);
            answers.add(new Answer(completions.get(sample), text.finish(), text.stopString()));
            tokens += completions.get(sample).tokens().length;
        }
        double decodeSeconds = (end - first[0]) / NANOS;
        return new Answers(
                answers,
                (first[0] - start) / NANOS,
                decodeSeconds,
                tokens > first[1] ? (tokens - first[1]) / decodeSeconds : 0);
    }

    private static Guide stoppable(TextGuide text, BooleanSupplier stop) {
        return new Guide() {
            @Override
            public Next begin() {
                return text.begin();
            }

            @Override
            public Next follow(int token) {
                Next next = text.follow(token);
                return stop.getAsBoolean() ? Choice.STOP : next;
            }
        };
    }

    @Override
    public void close() {
        model.close();
        device.close();
    }
}
