package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.ComputeType;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.chat.Message;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.task.DigitsTask;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// `generate` and `chat` over a checkpoint of random weights: what is asked, how it is sampled,
/// when it stops, what is printed.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
final class AnswerTest {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private Path checkpoint = Path.of("");
    private Path picture = Path.of("");
    private Tokenizer tokenizer = DigitsTask.tokenizer();

    @BeforeAll
    void make(@TempDir Path folder) throws IOException {
        checkpoint = Files.createDirectory(folder.resolve("checkpoint"));
        int image = tokenizer.id(ChatTemplate.IMAGE_TOKEN).orElseThrow();
        List<Integer> suppressed =
                List.of(
                        tokenizer.id(ChatTemplate.IMAGE_BEGIN).orElseThrow(),
                        tokenizer.id(ChatTemplate.IMAGE_END).orElseThrow());
        try (HostDevice device = HostDevice.open(1);
                VisionLanguageModel model =
                        VisionLanguageModel.initialize(
                                VisionLanguageConfig.tiny(tokenizer.size(), image, suppressed),
                                Kernels.of(device),
                                ComputeType.FLOAT32,
                                3)) {
            model.save(checkpoint);
        }
        tokenizer.save(checkpoint);
        ChatTemplate.TINY.save(checkpoint);
        picture = folder.resolve("picture.png");
        BufferedImage pixels = new BufferedImage(56, 56, BufferedImage.TYPE_INT_RGB);
        pixels.setRGB(3, 4, 0xffffff);
        ImageIO.write(pixels, "png", picture.toFile());
    }

    private Captured command(String name, String... arguments) {
        List<String> all = new ArrayList<>(List.of(name, "--device", "cpu"));
        all.addAll(List.of("--model", checkpoint.toString()));
        all.addAll(List.of(arguments));
        return Captured.run(all.toArray(String[]::new));
    }

    private Captured generate(String... arguments) {
        return command("generate", arguments);
    }

    private JsonNode json(String... arguments) {
        List<String> all = new ArrayList<>(List.of(arguments));
        all.add("--json");
        return JSON.readTree(generate(all.toArray(String[]::new)).succeeds());
    }

    private static int[] ints(JsonNode list) {
        return list.values().stream().mapToInt(JsonNode::asInt).toArray();
    }

    @Test
    void jsonHasTokensTextAndTimes() {
        JsonNode answer =
                json("--image", picture.toString(), "--prompt", "Sum?", "--max-new-tokens", "7");
        String prompt =
                ChatTemplate.TINY.render(
                        List.of(ChatTemplate.TINY.withPictures("user", "Sum?", 1)),
                        new int[] {4},
                        true);
        assertThat(ints(answer.path("prompt_token_ids"))).containsExactly(tokenizer.encode(prompt));
        int[] tokens = ints(answer.path("token_ids"));
        assertThat(tokens).hasSizeBetween(1, 7);
        assertThat(answer.path("logprobs").size()).isEqualTo(tokens.length);
        assertThat(answer.path("entropies").size()).isEqualTo(tokens.length);
        assertThat(answer.path("logprobs").get(0).asDouble()).isNegative();
        assertThat(answer.path("entropies").get(0).asDouble()).isPositive();
        assertThat(answer.path("text").asString()).isEqualTo(tokenizer.decode(tokens, true));
        assertThat(answer.path("finish_reason").asString()).isIn("length", "stop");
        assertThat(answer.path("timings").propertyNames())
                .containsExactly(
                        "load_seconds", "prefill_seconds", "decode_seconds", "tokens_per_second");
        assertThat(answer.path("timings").path("prefill_seconds").asDouble()).isPositive();
    }

    @Test
    void theAnswerIsStreamedToTheOutput() {
        String[] asked = {"-i", picture.toString(), "--max-new-tokens", "9", "Sum?"};
        Captured streamed = generate("-i", picture.toString(), "Sum?", "--max-new-tokens", "9");
        JsonNode answer = json(asked);
        assertThat(streamed.succeeds())
                .isEqualTo(answer.path("text").asString() + System.lineSeparator());
        assertThat(streamed.err()).startsWith("device cpu").contains(" tokens/s");
        assertThat(generate(asked).succeeds()).isEqualTo(streamed.out());
    }

    @Test
    void picturesAndQuestionsInEveryForm() {
        String file = picture.toString();
        int[] expected = promptOf("--prompt", "Q", "--image", file, file);
        assertThat(promptOf("-i", file, "-i", file, "Q")).containsExactly(expected);
        assertThat(promptOf("-i", file, file, "Q")).containsExactly(expected);
        assertThat(promptOf("Q", "-i", file, file)).containsExactly(expected);
        assertThat(expected)
                .containsExactly(
                        tokenizer.encode(
                                ChatTemplate.TINY.render(
                                        List.of(ChatTemplate.TINY.withPictures("user", "Q", 2)),
                                        new int[] {4, 4},
                                        true)));
        generate("-i", file, file).isBadInput("generate: there is no question", "--prompt TEXT");
        generate("--prompt", "a", "b").isBadInput("the question is given twice");
        generate("-i", file, "<image> and <image>").isBadInput("has 2 <image> for 1 picture");
        generate("-i", "none.png", "Q").isBadInput("none.png");
        generate("a <IMG_CONTEXT>")
                .isBadInput("its text holds 1 <IMG_CONTEXT> that belong to no picture");
    }

    @Test
    void theSystemTurnAndTheTemplateAreTheUsers() {
        String text = decoded("--template", "qwen2", "--prompt", "Q");
        assertThat(text).isEqualTo(ChatTemplate.QWEN2.render(messages("Q"), true));
        assertThat(decoded("--system", "S", "--prompt", "Q", "--thinking", "none"))
                .isEqualTo(
                        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
                                + "<|im_start|>assistant\n");
        assertThat(decoded("--template", "chatml", "--thinking", "slow", "--prompt", "Q"))
                .endsWith("<|im_start|>assistant\n<think>\n");
        assertThat(decoded("--prompt", "Q")).endsWith("<|im_start|>assistant\n<think>");
        generate("--template", "qwen", "Q")
                .isBadInput("--template qwen: there is no such template", "qwen2", "name one of");
    }

    private static List<Message> messages(String text) {
        return List.of(new Message("user", text));
    }

    private String decoded(String... arguments) {
        return tokenizer.decode(promptOf(arguments));
    }

    private int[] promptOf(String... arguments) {
        List<String> all = new ArrayList<>(List.of("--max-new-tokens", "1"));
        all.addAll(List.of(arguments));
        return ints(json(all.toArray(String[]::new)).path("prompt_token_ids"));
    }

    @Test
    void samplesDifferAndSeedsRepeat() {
        String[] sampled = {
            "-n",
            "3",
            "--temperature",
            "1.5",
            "--max-new-tokens",
            "8",
            "--seed",
            "4",
            "--prompt",
            "Q"
        };
        String first = generate(sampled).succeeds();
        assertThat(generate(sampled).out()).isEqualTo(first);
        sampled[7] = "5";
        assertThat(generate(sampled).out()).isNotEqualTo(first);
        String narrow =
                generate(
                                "--temperature",
                                "1.5",
                                "--min-p",
                                "1",
                                "--max-new-tokens",
                                "8",
                                "--prompt",
                                "Q")
                        .succeeds();
        assertThat(generate("--max-new-tokens", "8", "--prompt", "Q").succeeds()).isEqualTo(narrow);
    }

    @Test
    void aStopStringEndsTheAnswerAndIsNotPartOfIt() {
        String[] asked = {"--max-new-tokens", "20", "--repetition-penalty", "1.3", "--prompt", "Q"};
        String text = json(asked).path("text").asString();
        assertThat(text.length()).isGreaterThan(5);
        String stop = text.substring(3, 5);
        List<String> with = new ArrayList<>(Arrays.asList(asked));
        with.addAll(List.of("--stop", stop, "--stop", "nowhere"));
        JsonNode stopped = json(with.toArray(String[]::new));
        assertThat(stopped.path("text").asString())
                .isEqualTo(text.substring(0, text.indexOf(stop)));
        assertThat(stopped.path("finish_reason").asString()).isEqualTo("stop");
        assertThat(stopped.path("stop_string").asString()).isEqualTo(stop);
        assertThat(generate(with.toArray(String[]::new)).succeeds())
                .isEqualTo(stopped.path("text").asString() + System.lineSeparator());
    }

    @Test
    void aRepetitionPenaltyLowersRepetition() {
        int[] plain = ints(json("--max-new-tokens", "40", "--prompt", "Q").path("token_ids"));
        int[] penalised =
                ints(
                        json("--max-new-tokens", "40", "--repetition-penalty", "2", "--prompt", "Q")
                                .path("token_ids"));
        assertThat(Arrays.stream(penalised).distinct().count())
                .isGreaterThan(Arrays.stream(plain).distinct().count());
    }

    @Test
    void withoutWaitingNoCriticalTokenIsDrawn() {
        int[] forms = CriticalTokens.of(CriticalTokens.DEFAULT_WORDS, tokenizer).forms();
        assertThat(forms).isNotEmpty();
        String[] hot = {
            "--temperature", "5", "-n", "300", "--max-new-tokens", "20", "--json", "--prompt", "Q"
        };
        assertThat(drawnBy(hot)).containsAnyOf(forms);
        List<String> nowait = new ArrayList<>(Arrays.asList(hot));
        nowait.addAll(List.of("--thinking", "nowait"));
        assertThat(drawnBy(nowait.toArray(String[]::new)))
                .doesNotContain(forms)
                .doesNotContain(tokenizer.id(ChatTemplate.IMAGE_TOKEN).orElseThrow());
    }

    private int[] drawnBy(String... arguments) {
        return generate(arguments)
                .succeeds()
                .lines()
                .flatMapToInt(line -> Arrays.stream(ints(JSON.readTree(line).path("token_ids"))))
                .toArray();
    }

    @Test
    void theThinkingBudgetPutsInTheEnd() {
        int end = tokenizer.id(ChatTemplate.THINKING_END).orElseThrow();
        JsonNode answer =
                json(
                        "--thinking-budget",
                        "4",
                        "--max-new-tokens",
                        "12",
                        "--prompt",
                        "Q",
                        "--stop",
                        "\u0000");
        assertThat(ints(answer.path("token_ids"))).contains(end);
        assertThat(Arrays.stream(ints(answer.path("token_ids"))).boxed().toList().indexOf(end))
                .isLessThanOrEqualTo(4);
        int[] at =
                ints(
                        json("--thinking-budget", "0", "--max-new-tokens", "2", "--prompt", "Q")
                                .path("token_ids"));
        assertThat(at[0]).isEqualTo(end);
    }

    @Test
    void wrongOptionsAreNamed() {
        generate("--top-p", "0", "Q").isBadInput("sampling options", "top-p 0.0");
        generate("--min-p", "2", "Q").isBadInput("sampling options", "min-p 2.0");
        generate("--repetition-penalty", "0", "Q").isBadInput("repetition penalty 0.0");
        generate("--max-new-tokens", "0", "Q").isBadInput("--max-new-tokens 0", "counts from 1");
        generate("--samples", "0", "Q").isBadInput("--samples 0", "counts from 1");
        generate("--stop", "", "Q").isBadInput("--stop", "the text is empty");
        generate("--thinking", "hard", "Q").isBadInput("'hard' is not one of slow, none, nowait");
        generate("--thinking-budget", "-1", "Q").isBadInput("--thinking-budget -1", "is below 0");
        generate("--thinking-budget", "3", "--thinking", "none", "Q")
                .isBadInput("there is no thinking with --thinking none");
        generate("--max-tiles", "0", "Q").isBadInput("--max-tiles 0", "give 1 or more");
    }

    private Captured chat(String input, String... arguments) {
        InputStream before = System.in;
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        try {
            List<String> all = new ArrayList<>(List.of("--max-new-tokens", "6"));
            all.addAll(List.of(arguments));
            return command("chat", all.toArray(String[]::new));
        } finally {
            System.setIn(before);
        }
    }

    private static int occurrences(String text, String part) {
        return text.split(Pattern.quote(part), -1).length - 1;
    }

    @Test
    void everyTurnIsAnsweredFromTheWholeConversation() {
        String first = json("--max-new-tokens", "6", "--prompt", "One").path("text").asString();
        String once = chat("One\n").succeeds();
        assertThat(once).isEqualTo(first + System.lineSeparator());
        String twice = chat("One\n\nTwo\n/quit\nnever").succeeds();
        assertThat(twice).startsWith(once);
        // The second answer is that to the conversation with the first one in it.
        String prompt =
                ChatTemplate.TINY.render(
                        List.of(
                                new Message("user", "One"),
                                new Message("assistant", "<think>" + first),
                                new Message("user", "Two")),
                        true);
        String asOne =
                prompt.substring(
                        "<|im_start|>user\n".length(),
                        prompt.length() - "<|im_end|>\n<|im_start|>assistant\n<think>".length());
        String second = json("--max-new-tokens", "6", "--prompt", asOne).path("text").asString();
        assertThat(twice).isEqualTo(once + second + System.lineSeparator());
        assertThat(chat("One\n/reset\nOne\n").succeeds()).isEqualTo(once + once);
    }

    @Test
    void picturesAreShownAndFaultsDoNotEndTheConversation() {
        String seen =
                json("--max-new-tokens", "6", "-i", picture.toString(), "--prompt", "Sum?")
                        .path("text")
                        .asString();
        Captured talk =
                chat(
                        """
                        /image none.png
                        /image
                        /imag x
                        <image>?
                        /image %s
                        Sum?
                        /help
                        """
                                .formatted(picture));
        assertThat(talk.succeeds())
                .startsWith(seen + System.lineSeparator())
                .contains("/image FILE", "/quit");
        assertThat(talk.err().lines().filter(line -> line.startsWith("saccade: ")))
                .hasSize(4)
                .anyMatch(line -> line.contains("none.png"))
                .anyMatch(line -> line.contains("/image: there is no file"))
                .anyMatch(line -> line.contains("/imag: is not a command"))
                .anyMatch(line -> line.contains("1 <image> for 0 pictures"));
    }

    @Test
    void theSystemTurnCanBeChanged() {
        String mine =
                json("--max-new-tokens", "6", "--system", "Be brief.", "--prompt", "One")
                        .path("text")
                        .asString();
        String line = mine + System.lineSeparator();
        String plain = chat("One\n").succeeds();
        assertThat(chat("/system Be brief.\nOne\n").succeeds()).isEqualTo(line);
        assertThat(chat("One\n", "--system", "Be brief.").succeeds()).isEqualTo(line);
        assertThat(chat("/system Be brief.\n/system\nOne\n").succeeds()).isEqualTo(plain);
    }

    @Test
    void aConversationTooLongForTheModelIsRefusedTurnByTurn() {
        Captured talk = chat("x".repeat(1100) + "\nOne\n");
        assertThat(talk.succeeds()).isEqualTo(chat("One\n").succeeds());
        assertThat(occurrences(talk.err(), "exceed the model's 1024 positions")).isEqualTo(1);
    }

    @Test
    void anInterruptedAnswerEnds() {
        Interrupts interrupts = Interrupts.catching();
        try (interrupts) {
            interrupts.begin();
            assertThat(interrupts.asked()).isFalse();
            interrupts.interrupt();
            assertThat(interrupts.asked()).isTrue();
            interrupts.begin();
            assertThat(interrupts.asked()).isFalse();
            interrupts.end();
        }
    }
}
