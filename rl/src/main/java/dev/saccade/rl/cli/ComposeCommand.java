package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.model.CheckpointLayout;
import dev.saccade.model.Composition;
import dev.saccade.model.SaveOptions;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.tensor.ParameterGroup;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// Makes a vision-language model of parts.
@Command(
        name = "compose",
        description =
                "Make a checkpoint of a vision tower, a language model and a connector, which is new"
                        + " or another model's. All parts of one model: writes it in another"
                        + " layout.")
final class ComposeCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Option(
            names = "--vision",
            required = true,
            paramLabel = "DIR",
            description = "Take this checkpoint's vision tower.")
    Path vision = Path.of("");

    @Option(
            names = "--text",
            required = true,
            paramLabel = "DIR",
            description = "Take this checkpoint's language model.")
    Path text = Path.of("");

    @Option(
            names = "--connector",
            paramLabel = "DIR",
            description = "Take this checkpoint's connector (default: a new one).")
    @Nullable Path connector;

    @Option(
            names = "--seed",
            defaultValue = "0",
            paramLabel = "S",
            description = "Seed of a new connector (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--image-token",
            paramLabel = "ID",
            description = "The token that stands for a visual token (default: the tokenizer's).")
    @Nullable Integer imageToken;

    @Option(
            names = "--tokenizer",
            paramLabel = "DIR",
            description =
                    "Take this folder's tokenizer along (default: the first of text, connector and"
                            + " vision that has the image token).")
    @Nullable Path tokenizer;

    @Option(
            names = "--layout",
            defaultValue = "native",
            paramLabel = "native|native-early|remote-code",
            description = "Names of the tensors (default: ${DEFAULT-VALUE}).")
    String layout = "native";

    @Option(
            names = "--shard-megabytes",
            defaultValue = "5000",
            paramLabel = "N",
            description = "Largest weight file (default: ${DEFAULT-VALUE}).")
    int shardMegabytes;

    @Option(
            names = {"-o", "--out"},
            required = true,
            paramLabel = "DIR",
            description = "The new checkpoint's folder.")
    Path out = Path.of("");

    @Override
    public Integer call() {
        CheckpointLayout named =
                Arrays.stream(CheckpointLayout.values())
                        .filter(one ->
                                one != CheckpointLayout.TEXT && one != CheckpointLayout.VISION)
                        .filter(one -> one.label().equals(layout))
                        .findFirst()
                        .orElseThrow(() ->
                                new InputException(
                                        "--layout",
                                        "there is no layout '" + layout + "'",
                                        "give native, native-early or remote-code"));
        if (shardMegabytes < 1) {
            throw new InputException(
                    "--shard-megabytes", "it is " + shardMegabytes, "give at least 1");
        }
        Composition composition =
                new Composition(
                        vision,
                        text,
                        connector,
                        seed,
                        imageToken == null ? OptionalInt.empty() : OptionalInt.of(imageToken),
                        tokenizer);
        VisionLanguageConfig config =
                composition.writeTo(
                        out,
                        new SaveOptions(named, shardMegabytes * 1_000_000L),
                        new ByteProgress("write"));
        System.out.printf(
                "%s: %d parameters (vision %d, connector %d, language %d)%n",
                out,
                config.parameterCount(),
                config.parameterCount(ParameterGroup.VISION),
                config.parameterCount(ParameterGroup.CONNECTOR),
                config.parameterCount(ParameterGroup.LANGUAGE));
        return 0;
    }
}
