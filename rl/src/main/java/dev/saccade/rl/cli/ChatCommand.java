package dev.saccade.rl.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// A conversation with a model, turn by turn, from a terminal or a pipe.
@Command(
        name = "chat",
        description = "Talk with a checkpoint about pictures, turn by turn; /help lists commands.")
final class ChatCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Mixin CheckpointOptions checkpoint = new CheckpointOptions();

    @Mixin GenerationOptions generation = new GenerationOptions();

    @Option(
            names = "--system",
            paramLabel = "TEXT",
            description = "The system turn (default: the template's).")
    @Nullable String system;

    @Override
    public Integer call() throws IOException {
        generation.check();
        try (ChatModel model = ChatModel.open(common, checkpoint, generation);
                Interrupts interrupts = Interrupts.catching();
                BufferedReader in =
                        new BufferedReader(
                                new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            System.err.println(model.header());
            boolean terminal = "1".equals(System.getenv("SACCADE_TERMINAL"));
            new ChatLoop(model, interrupts, System.out, System.err, terminal, system).run(in);
        }
        return 0;
    }
}
