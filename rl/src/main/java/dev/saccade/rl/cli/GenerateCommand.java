package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.model.Prompt;
import dev.saccade.model.chat.Message;
import dev.saccade.model.generate.FinishReason;
import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.image.Pixels;
import dev.saccade.model.image.RgbImage;
import java.io.File;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/// Answers a question about pictures.
@Command(name = "generate", description = "Generate from a text and pictures with a checkpoint.")
final class GenerateCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Mixin CheckpointOptions checkpoint = new CheckpointOptions();

    @Mixin GenerationOptions generation = new GenerationOptions();

    @Option(
            names = {"-i", "--image"},
            arity = "1..*",
            paramLabel = "FILE",
            description = "Pictures, in the order of <image> in the text.")
    List<String> images = new ArrayList<>();

    @Option(
            names = {"-p", "--prompt"},
            paramLabel = "TEXT",
            description = "What to ask.")
    @Nullable String prompt;

    @Option(
            names = "--system",
            paramLabel = "TEXT",
            description = "The system turn (default: the template's).")
    @Nullable String system;

    @Option(
            names = {"-n", "--samples"},
            defaultValue = "1",
            paramLabel = "N",
            description = "How many answers to draw (default: ${DEFAULT-VALUE}).")
    int samples;

    @Option(
            names = "--json",
            description = "Print JSON, a line for each answer, with its tokens and times.")
    boolean json;

    @Parameters(arity = "0..1", paramLabel = "TEXT", description = "What to ask, without --prompt.")
    @Nullable String text;

    @Override
    public Integer call() {
        generation.check();
        if (samples < 1) {
            throw new InputException("--samples " + samples, "counts from 1", "give 1 or more");
        }
        String question = question();
        List<RgbImage> pictures =
                images.stream().map(file -> ImageLoader.read(Path.of(file), file)).toList();
        try (ChatModel chat = ChatModel.open(common, checkpoint, generation)) {
            Prompt encoded = encode(chat, question, pictures);
            System.err.println(chat.header());
            boolean streams = samples == 1 && !json;
            PrintStream out = System.out;
            ChatModel.Answers answers =
                    chat.answer(
                            encoded,
                            0,
                            samples,
                            part -> {
                                if (streams) {
                                    out.print(part);
                                    out.flush();
                                }
                            },
                            () -> false);
            for (ChatModel.Answer answer : answers.answers()) {
                if (json) {
                    out.println(json(encoded, chat.loadSeconds(), answers, answer));
                } else {
                    out.println(streams ? "" : answer.text());
                }
            }
            System.err.println(summary(answers));
        }
        return 0;
    }

    private String question() {
        // --image takes all that follows it: the last may be the question.
        if (prompt == null
                && text == null
                && images.size() > 1
                && !new File(images.getLast()).exists()) {
            text = images.removeLast();
        }
        if (prompt == null && text == null) {
            throw new InputException("generate", "there is no question", "add --prompt TEXT");
        }
        if (prompt != null && text != null) {
            throw new InputException(
                    "generate",
                    "the question is given twice, by --prompt and as '" + text + "'",
                    "leave one out");
        }
        return prompt != null ? prompt : String.valueOf(text);
    }

    private Prompt encode(ChatModel chat, String question, List<RgbImage> pictures) {
        List<Message> messages = new ArrayList<>();
        if (system != null) {
            messages.add(new Message("system", system));
        }
        messages.add(chat.encoder().template().withPictures("user", question, pictures.size()));
        List<Pixels> tiles = pictures.stream().map(chat.encoder()::tiles).toList();
        return chat.encoder().encode(messages, tiles).prompt();
    }

    static String summary(ChatModel.Answers answers) {
        long tokens = 0;
        long cut = 0;
        for (ChatModel.Answer answer : answers.answers()) {
            tokens += answer.completion().tokens().length;
            cut += answer.completion().reason() == FinishReason.LENGTH ? 1 : 0;
        }
        return String.format(
                Locale.ROOT,
                "%d tokens; prefill %.2f s, decode %.2f s, %.1f tokens/s%s",
                tokens,
                answers.prefillSeconds(),
                answers.decodeSeconds(),
                answers.tokensPerSecond(),
                cut > 0 ? "; cut off at the end: --max-new-tokens allows more" : "");
    }

    private static String json(
            Prompt prompt, double loadSeconds, ChatModel.Answers answers, ChatModel.Answer answer) {
        Map<String, Object> timings = new LinkedHashMap<>();
        timings.put("load_seconds", loadSeconds);
        timings.put("prefill_seconds", answers.prefillSeconds());
        timings.put("decode_seconds", answers.decodeSeconds());
        timings.put("tokens_per_second", answers.tokensPerSecond());
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("text", answer.text());
        line.put(
                "finish_reason",
                answer.completion().reason() == FinishReason.LENGTH ? "length" : "stop");
        line.put("stop_string", answer.stopString());
        line.put("prompt_token_ids", prompt.tokens());
        line.put("token_ids", answer.completion().tokens());
        line.put("logprobs", answer.completion().logProbs());
        line.put("entropies", answer.completion().entropies());
        line.put("timings", timings);
        return JsonMapper.builder().build().writeValueAsString(line);
    }
}
