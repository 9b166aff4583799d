package dev.saccade.rl.cli;

import picocli.CommandLine.Option;

/// `--help` and `--debug`, on every command.
final class HelpOption {
    @Option(
            names = {"-h", "--help"},
            usageHelp = true,
            description = "Show this help and exit.")
    boolean help;

    /// Read by [Main], which prints errors.
    @Option(names = "--debug", description = "Print the stack trace with an error.")
    boolean debug;
}
