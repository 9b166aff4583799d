package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.model.Prompt;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.Message;
import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.image.Pixels;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The turns of a conversation: a line is what the user says or a command, the answer is written as
/// it comes. Every turn is computed from the whole conversation. What can't be done is one line on
/// the error stream, and the conversation goes on without it.
final class ChatLoop {
    private static final String HELP =
            """
            A line is what you say; the model answers it.
            /image FILE   show a picture with the next line (repeat for several)
            /system TEXT  set the system turn; without TEXT, back to the template's
            /reset        forget the conversation and its pictures
            /help         this list
            /quit         end (as does the end of the input)
            Ctrl-C ends an answer that is being written; what was written is kept.
            """;

    private final ChatModel model;
    private final Interrupts interrupts;
    private final PrintStream out;
    private final PrintStream err;
    private final boolean terminal;
    private @Nullable String system;
    private final List<Message> messages = new ArrayList<>();
    private final List<Pixels> pictures = new ArrayList<>();
    private final List<Pixels> shown = new ArrayList<>();
    private int turns;

    /// @param terminal whether the error stream is seen by somebody: they are prompted there, so
    ///   that the output is the answers alone
    /// @param system the system turn; null for the template's
    ChatLoop(
            ChatModel model,
            Interrupts interrupts,
            PrintStream out,
            PrintStream err,
            boolean terminal,
            @Nullable String system) {
        this.model = model;
        this.interrupts = interrupts;
        this.out = out;
        this.err = err;
        this.terminal = terminal;
        this.system = system;
    }

    /// Converses until the input ends or says so.
    void run(BufferedReader in) throws IOException {
        while (true) {
            if (terminal) {
                err.print("> ");
                err.flush();
            }
            String line = in.readLine();
            if (line == null || line.strip().equals("/quit")) {
                return;
            }
            try {
                if (line.startsWith("/")) {
                    command(line.strip());
                } else if (!line.isBlank()) {
                    say(line);
                }
            } catch (InputException e) {
                err.println("saccade: " + e.getMessage());
            }
        }
    }

    private void command(String line) {
        int space = line.indexOf(' ');
        String name = space < 0 ? line : line.substring(0, space);
        String rest = space < 0 ? "" : line.substring(space + 1).strip();
        switch (name) {
            case "/image" -> show(rest);
            case "/system" -> system = rest.isEmpty() ? null : rest;
            case "/reset" -> {
                messages.clear();
                pictures.clear();
                shown.clear();
            }
            case "/help" -> out.print(HELP);
            default ->
                    throw new InputException(name, "is not a command", "/help lists the commands");
        }
    }

    private void show(String file) {
        if (file.isEmpty()) {
            throw new InputException("/image", "there is no file", "write /image FILE");
        }
        shown.add(model.encoder().tiles(ImageLoader.read(Path.of(file), file)));
    }

    private void say(String line) {
        ChatTemplate template = model.encoder().template();
        List<Message> turn = new ArrayList<>();
        if (system != null) {
            turn.add(new Message("system", system));
        }
        turn.addAll(messages);
        Message question = template.withPictures("user", line, shown.size());
        turn.add(question);
        List<Pixels> all = new ArrayList<>(pictures);
        all.addAll(shown);
        Prompt prompt = model.encoder().encode(turn, all).prompt();
        ChatModel.Answers answers;
        interrupts.begin();
        try {
            answers = model.answer(prompt, turns, 1, this::write, interrupts::asked);
        } finally {
            interrupts.end();
        }
        out.println();
        if (terminal) {
            err.println(GenerateCommand.summary(answers));
        }
        turns++;
        pictures.addAll(shown);
        shown.clear();
        messages.add(question);
        messages.add(
                new Message(
                        "assistant",
                        template.generationSuffix() + answers.answers().getFirst().text()));
    }

    private void write(String part) {
        out.print(part);
        out.flush();
    }
}
