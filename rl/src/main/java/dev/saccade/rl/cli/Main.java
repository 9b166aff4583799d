package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.engine.OutOfDeviceMemoryException;
import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.lang.reflect.Constructor;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.ParameterException;

/// The command line. Exit status 0: done; 1: failed; 2: wrong usage or bad input. An error is one
/// line on stderr, `saccade: <what>: <why>; <what to do>`; `--debug` adds the stack trace.
@Command(
        name = "saccade",
        description = "Reinforcement-learning post-training of vision-language models.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            QuickstartCommand.class,
            TrainCommand.class,
            EvalCommand.class,
            GenerateCommand.class,
            ChatCommand.class,
            TokenizeCommand.class,
            InspectCommand.class,
            ComposeCommand.class,
            ReportCommand.class,
            DoctorCommand.class
        },
        commandListHeading = "%nCommands:%n",
        footerHeading = "%nRun by the launcher itself:%n",
        footer = {
            "  bench       Run the JMH suites: ./saccade bench [PATTERN].",
            "  selftest    Run the contract tests on this machine's devices.",
            "  bundle      Make one archive for a bare GPU node (in a checkout).",
            "  test        Build and run every test (in a checkout).",
            "",
            "'saccade COMMAND --help' explains a command."
        })
public final class Main implements Runnable {

    /// The process could not do what was asked.
    static final int FAILED = 1;

    /// Wrong usage or bad input.
    static final int BAD_INPUT = 2;

    private static final Pattern CHOICE =
            Pattern.compile("(.*)expected one of \\[(.*)] \\(case-insensitive\\) but was '(.*)'");

    @CommandLine.Mixin HelpOption help = new HelpOption();

    @CommandLine.Option(
            names = "--version",
            versionHelp = true,
            description = "Print the version and exit.")
    boolean version;

    @CommandLine.Spec CommandLine.Model.@Nullable CommandSpec spec;

    private Main() {}

    /// Runs the command line and ends the process with its exit status.
    public static void main(String[] arguments) {
        openStandardError();
        System.exit(execute(List.of(arguments)));
    }

    /// Runs the command line; the exit status is returned.
    static int execute(List<String> arguments) {
        CommandLine commandLine = new CommandLine(new Main());
        commandLine.getCommandSpec().version("saccade " + Version.current());
        commandLine.setOut(new PrintWriter(System.out, true, StandardCharsets.UTF_8));
        commandLine.setErr(new PrintWriter(System.err, true, StandardCharsets.UTF_8));
        commandLine.setCaseInsensitiveEnumValuesAllowed(true);
        commandLine.setUsageHelpAutoWidth(true);
        commandLine.setParameterExceptionHandler(Main::usageError);
        boolean debug = arguments.contains("--debug");
        commandLine.setExecutionExceptionHandler(
                (exception, command, _) -> failure(exception, command.getErr(), debug));
        try {
            return commandLine.execute(arguments.toArray(String[]::new));
        } catch (OutOfMemoryError e) {
            if (debug) {
                e.printStackTrace();
            }
            System.err.printf(
                    "saccade: the Java heap: %d MiB are not enough; give it more, as in"
                            + " SACCADE_JVM=-Xmx8g ./saccade ...%n",
                    Runtime.getRuntime().maxMemory() >> 20);
            return FAILED;
        }
    }

    @Override
    public void run() {
        if (spec != null) {
            throw new ParameterException(spec.commandLine(), "no command given");
        }
    }

    private static int usageError(ParameterException exception, String[] arguments) {
        CommandLine command = exception.getCommandLine();
        String message =
                exception instanceof CommandLine.UnmatchedArgumentException unmatched
                        ? unknown(unmatched)
                        : plain(firstLine(exception.getMessage()));
        command.getErr()
                .println(
                        "saccade: %s; see '%s --help'"
                                .formatted(message, command.getCommandSpec().qualifiedName()));
        return BAD_INPUT;
    }

    private static String unknown(CommandLine.UnmatchedArgumentException exception) {
        CommandLine command = exception.getCommandLine();
        String word = exception.getUnmatched().getFirst();
        if (exception.isUnknownOption()) {
            String name = word.replaceFirst("=.*", "");
            return "unknown option '%s'%s"
                    .formatted(
                            name,
                            Suggestion.of(name, command.getCommandSpec().optionsMap().keySet()));
        }
        return command.getSubcommands().isEmpty()
                ? "unexpected argument '" + word + "'"
                : "unknown command '%s'%s"
                        .formatted(word, Suggestion.of(word, command.getSubcommands().keySet()));
    }

    /// The parser's message without its author's words.
    private static String plain(String message) {
        Matcher choice = CHOICE.matcher(message);
        String text =
                choice.matches()
                        ? "%s'%s' is not one of %s"
                                .formatted(
                                        choice.group(1),
                                        choice.group(3),
                                        choice.group(2).toLowerCase(Locale.ROOT))
                        : message.replaceFirst(" is not an? (int|long)$", " is not a whole number")
                                .replaceFirst(" is not a (float|double)$", " is not a number");
        return text.substring(0, 1).toLowerCase(Locale.ROOT) + text.substring(1);
    }

    private static int failure(Exception exception, PrintWriter err, boolean debug) {
        if (debug) {
            exception.printStackTrace(err);
        }
        String message = firstLine(exception.getMessage());
        boolean explained =
                exception instanceof InputException
                        || exception instanceof OutOfDeviceMemoryException;
        err.println(
                "saccade: "
                        + (explained
                                ? message
                                : exception.getClass().getSimpleName()
                                        + ": "
                                        + message
                                        + "; run again with --debug for the stack trace"));
        return exception instanceof InputException ? BAD_INPUT : FAILED;
    }

    private static String firstLine(@Nullable String message) {
        return message == null ? "no message" : message.lines().findFirst().orElse("no message");
    }

    /// The launcher keeps the real stderr on another descriptor, since it drops a line from the
    /// JVM's own messages. The descriptor is used as it is: opened by its path, a regular file
    /// would be written at a place of its own, over what others write to it.
    private static void openStandardError() {
        String number = System.getenv("SACCADE_STDERR");
        if (number == null) {
            return;
        }
        try {
            Constructor<FileDescriptor> descriptor =
                    FileDescriptor.class.getDeclaredConstructor(int.class);
            descriptor.setAccessible(true);
            OutputStream out =
                    new BufferedOutputStream(
                            new FileOutputStream(descriptor.newInstance(Integer.valueOf(number))));
            System.setErr(new PrintStream(out, true, StandardCharsets.UTF_8));
        } catch (ReflectiveOperationException | RuntimeException e) {
            // Messages then take the JVM's own way, through the filter.
            System.err.flush();
        }
    }
}
