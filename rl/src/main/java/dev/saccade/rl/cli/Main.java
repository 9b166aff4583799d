package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.engine.OutOfDeviceMemoryException;

import org.jspecify.annotations.Nullable;

import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.ParameterException;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;

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
            TokenizeCommand.class,
            InspectCommand.class,
            ReportCommand.class,
            DoctorCommand.class
        },
        commandListHeading = "%nCommands:%n",
        footerHeading = "%nRun by the launcher itself:%n",
        footer = {
            "  bench       Run the JMH suites: ./saccade bench [PATTERN].",
            "  test        Build and run every test.",
            "",
            "'saccade COMMAND --help' explains a command."
        })
public final class Main implements Runnable {

    /// The process could not do what was asked.
    static final int FAILED = 1;

    /// Wrong usage or bad input.
    static final int BAD_INPUT = 2;

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
        return commandLine.execute(arguments.toArray(String[]::new));
    }

    @Override
    public void run() {
        if (spec != null) {
            throw new ParameterException(spec.commandLine(), "no command given");
        }
    }

    private static int usageError(ParameterException exception, String[] arguments) {
        CommandLine command = exception.getCommandLine();
        String message = exception.getMessage();
        List<String> near = List.of();
        if (exception instanceof CommandLine.UnmatchedArgumentException unmatched) {
            near = unmatched.getSuggestions();
        }
        String suggestion =
                near.isEmpty() ? "" : "; did you mean " + String.join(" or ", near) + "?";
        command.getErr()
                .printf(
                        "saccade: %s%s; see '%s --help'%n",
                        firstLine(message), suggestion, command.getCommandSpec().qualifiedName());
        return BAD_INPUT;
    }

    private static int failure(Exception exception, PrintWriter err, boolean debug) {
        if (debug) {
            exception.printStackTrace(err);
        }
        switch (exception) {
            case InputException bad -> {
                err.println("saccade: " + firstLine(bad.getMessage()));
                return BAD_INPUT;
            }
            case OutOfDeviceMemoryException memory -> {
                err.println("saccade: " + firstLine(memory.getMessage()));
                return FAILED;
            }
            default -> {
                err.printf(
                        "saccade: %s: %s; run again with --debug for the stack trace%n",
                        exception.getClass().getSimpleName(), firstLine(exception.getMessage()));
                return FAILED;
            }
        }
    }

    private static String firstLine(@Nullable String message) {
        return message == null ? "no message" : message.lines().findFirst().orElse("no message");
    }

    /// The launcher keeps the real stderr on another descriptor, since it drops a line from the
    /// JVM's own messages.
    private static void openStandardError() {
        String path = System.getenv("SACCADE_STDERR");
        if (path == null) {
            return;
        }
        try {
            System.setErr(
                    new PrintStream(
                            new FileOutputStream(path, true), true, StandardCharsets.UTF_8));
        } catch (IOException e) {
            // A socket, say, cannot be opened by path: messages then take the JVM's own way.
            System.err.flush();
        }
    }
}
