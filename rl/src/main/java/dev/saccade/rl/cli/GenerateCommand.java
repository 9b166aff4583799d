package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.sampling.Philox;
import dev.saccade.model.Prompt;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.Message;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.rollout.RowEncoder;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/// Answers a question about a picture.
@Command(name = "generate", description = "Generate from a text and pictures with a checkpoint.")
final class GenerateCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Mixin CheckpointOptions checkpoint = new CheckpointOptions();

    @Option(
            names = {"-i", "--image"},
            paramLabel = "FILE",
            description = "A picture; repeat for several, in the order of <image> in the text.")
    List<Path> images = new ArrayList<>();

    @Option(
            names = "--temperature",
            defaultValue = "0",
            paramLabel = "T",
            description = "0 takes the most probable token (default: ${DEFAULT-VALUE}).")
    float temperature;

    @Option(
            names = "--top-k",
            defaultValue = "0",
            paramLabel = "K",
            description = "Keep the K most probable tokens (default: all).")
    int topK;

    @Option(
            names = "--top-p",
            defaultValue = "1",
            paramLabel = "P",
            description = "Keep the most probable tokens that reach mass P (default: all).")
    float topP;

    @Option(
            names = "--max-new-tokens",
            defaultValue = "64",
            paramLabel = "N",
            description = "Stop after N tokens (default: ${DEFAULT-VALUE}).")
    int maxNewTokens;

    @Option(
            names = {"-n", "--samples"},
            defaultValue = "1",
            paramLabel = "N",
            description = "How many answers to draw (default: ${DEFAULT-VALUE}).")
    int samples;

    @Option(
            names = "--seed",
            defaultValue = "0",
            paramLabel = "S",
            description = "Seed of the draws (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(names = "--json", description = "Print JSON, with each token's entropy.")
    boolean json;

    @Parameters(paramLabel = "TEXT", description = "What to ask.")
    String text = "";

    @Override
    public Integer call() {
        if (samples < 1 || maxNewTokens < 1) {
            throw new InputException(
                    "--samples " + samples + " --max-new-tokens " + maxNewTokens,
                    "both count from 1",
                    "give larger numbers");
        }
        SamplingOptions options = sampling();
        try (Device device = common.open(null);
                VisionLanguageModel model =
                        VisionLanguageModel.load(
                                checkpoint.folder, Kernels.of(device), common.type(device))) {
            Tokenizer tokenizer = Tokenizer.load(checkpoint.folder);
            RowEncoder encoder =
                    new RowEncoder(
                            model.config(),
                            tokenizer,
                            checkpoint.template.value(),
                            checkpoint.maxTiles);
            Prompt prompt =
                    encoder.prompt(question(), model.config().text().maxPositionEmbeddings())
                            .prompt();
            List<Request> requests = new ArrayList<>();
            for (int sample = 0; sample < samples; sample++) {
                requests.add(new Request(prompt, Philox.key(seed, 0, 0, 0, sample)));
            }
            SamplingOptions stopping =
                    new SamplingOptions(
                            options.temperature(),
                            options.topK(),
                            options.topP(),
                            options.maxNewTokens(),
                            encoder.stopTokens());
            System.err.println(common.header(device, model.type()));
            List<Completion> completions =
                    new Generator(model).generate(requests, stopping, (_, _, _) -> {});
            for (Completion completion : completions) {
                print(tokenizer, completion);
            }
        }
        return 0;
    }

    /// The text as a conversation of one turn; pictures it does not place come after it.
    private Row question() {
        StringBuilder content = new StringBuilder(text);
        int placed = text.split(ChatTemplate.IMAGE_PLACEHOLDER, -1).length - 1;
        for (int i = placed; i < images.size(); i++) {
            content.append(ChatTemplate.IMAGE_PLACEHOLDER);
        }
        return new Row(
                "command-line",
                List.of(new Message("user", content.toString())),
                images,
                "",
                "rule",
                "",
                Map.of(),
                null,
                "the command line");
    }

    private SamplingOptions sampling() {
        try {
            return new SamplingOptions(temperature, topK, topP, maxNewTokens, new int[0]);
        } catch (IllegalArgumentException e) {
            throw new InputException(
                    "sampling options",
                    String.valueOf(e.getMessage()),
                    "temperature and top-k are at least 0, top-p is above 0 and at most 1",
                    e);
        }
    }

    private void print(Tokenizer tokenizer, Completion completion) {
        PrintStream out = System.out;
        if (!json) {
            out.println(tokenizer.decode(completion.tokens()));
            return;
        }
        List<Map<String, Object>> tokens = new ArrayList<>();
        for (int i = 0; i < completion.tokens().length; i++) {
            Map<String, Object> token = new LinkedHashMap<>();
            token.put("id", completion.tokens()[i]);
            token.put("token", tokenizer.token(completion.tokens()[i]));
            token.put("log_prob", completion.logProbs()[i]);
            token.put("entropy", completion.entropies()[i]);
            tokens.add(token);
        }
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("text", tokenizer.decode(completion.tokens()));
        line.put("finish_reason", completion.reason().name().toLowerCase(java.util.Locale.ROOT));
        line.put("tokens", tokens);
        out.println(JsonMapper.builder().build().writeValueAsString(line));
    }
}
