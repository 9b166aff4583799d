package dev.saccade.rl.cli;

import dev.saccade.model.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/// Text to tokens.
@Command(
        name = "tokenize",
        description = "Show the tokens of a text, from the argument or from standard input.")
final class TokenizeCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Option(
            names = {"-c", "--checkpoint"},
            required = true,
            paramLabel = "DIR",
            description = "A folder with tokenizer.json.")
    Path checkpoint = Path.of("");

    @Option(names = "--json", description = "Print JSON.")
    boolean json;

    @Parameters(arity = "0..1", paramLabel = "TEXT", description = "The text (default: stdin).")
    @Nullable String text;

    @Override
    public Integer call() throws IOException {
        Tokenizer tokenizer = Tokenizer.load(checkpoint);
        String input =
                text != null ? text : new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
        int[] ids = tokenizer.encode(input);
        PrintStream out = System.out;
        if (json) {
            List<Map<String, Object>> tokens = new ArrayList<>();
            for (int id : ids) {
                Map<String, Object> token = new LinkedHashMap<>();
                token.put("id", id);
                token.put("token", tokenizer.token(id));
                tokens.add(token);
            }
            out.println(JsonMapper.builder().build().writeValueAsString(tokens));
        } else {
            for (int id : ids) {
                out.printf("%7d  %s%n", id, tokenizer.token(id));
            }
            out.printf("%d tokens%n", ids.length);
        }
        return 0;
    }
}
