package dev.saccade.rl.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/// Options of the commands that ask a trained model: which one, and how it reads.
final class CheckpointOptions {
    @Option(
            names = {"-c", "--checkpoint"},
            required = true,
            paramLabel = "DIR",
            description = "The checkpoint's folder.")
    Path folder = Path.of("");

    @Option(
            names = "--max-tiles",
            defaultValue = "12",
            paramLabel = "N",
            description = "Cut a picture into at most N tiles (default: ${DEFAULT-VALUE}).")
    int maxTiles;

    @Option(
            names = "--template",
            defaultValue = "tiny",
            paramLabel = "tiny|r1v3",
            description = "How the conversation is written out (default: ${DEFAULT-VALUE}).")
    Template template = Template.TINY;
}
