package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import dev.saccade.engine.CudaDevice;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// What the command line says: help, results, and one line that names file, place and cure for each
/// mistake a user can make.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
final class CommandLineTest {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private Path temporary = Path.of("");
    private Path recipe = Path.of("");
    private Path run = Path.of("");
    private Path checkpoint = Path.of("");

    /// A folder of each test.
    private Path folder = Path.of("");

    @BeforeAll
    void train(@TempDir Path shared) {
        temporary = shared;
        recipe = TinyRun.write(temporary);
        run = temporary.resolve("run");
        Captured trained = Captured.run("train", recipe.toString(), "--out", run.toString());
        assertThat(trained.succeeds())
                .contains(
                        "accuracy", "sampler and trainer differ by 0 in log-probs, 0 in entropies")
                .contains("report       " + run.resolve("report.html"));
        assertThat(trained.err())
                .startsWith("device ")
                .contains("stage 1, first (sft), trains vision connector language")
                .contains("first 6/6: done; loss ")
                .contains("rl 6/6: done; reward ");
        checkpoint = run.resolve("checkpoints/step-" + TinyRun.STEPS);
    }

    @BeforeEach
    void makeFolder(TestInfo test) throws IOException {
        folder = Files.createTempDirectory(temporary, test.getTestMethod().orElseThrow().getName());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "quickstart",
                "train",
                "eval",
                "generate",
                "chat",
                "tokenize",
                "inspect",
                "compose",
                "report",
                "doctor"
            })
    void everyCommandHasHelp(String command) {
        String help = Captured.run(command, "--help").succeeds();
        assertThat(help).startsWith("Usage: saccade " + command).contains("--debug");
        assertThat(help.lines()).allMatch(line -> line.length() <= 80);
        assertThat(Captured.run("--help").succeeds().lines())
                .anyMatch(line -> line.matches("  " + command + " +[A-Z].*"));
        assertThat(Captured.run(command, "-h").out()).isEqualTo(help);
    }

    @Test
    void theVersionIsShown() {
        assertThat(Captured.run("--version").succeeds()).startsWith("saccade ");
    }

    @Test
    void wrongUsageNamesTheNearestThatIsRight() {
        Captured.run().isBadInput("no command given", "'saccade --help'");
        Captured.run("trian").isBadInput("unknown command 'trian'", "did you mean 'train'?");
        Captured.run("Doctor").isBadInput("did you mean 'doctor'?");
        assertThat(Captured.run("xyzzy").err()).doesNotContain("did you mean");
        Captured.run("train", "--ot", "x")
                .isBadInput("unknown option '--ot'", "'--out'?", "'saccade train --help'");
        Captured.run("train", "--sead=3").isBadInput("unknown option '--sead'", "'--seed'?");
        Captured.run("train", "smoke", "x").isBadInput("unexpected argument 'x'");
        Captured.run("train", "smoke", "--set")
                .isBadInput("missing required parameter for option '--set' (KEY=VALUE)");
        Captured.run("train", "smoke", "--threads", "x")
                .isBadInput("invalid value for option '--threads': 'x' is not a whole number");
        Captured.run("eval", "--temperature", "hot").isBadInput("'hot' is not a number");
        Captured.run("quickstart", "--preset", "fast")
                .isBadInput("'--preset': 'fast' is not one of quick, smoke");
        Captured.run("eval")
                .isBadInput("missing required options: '--checkpoint=DIR', '--data=FILE'");
        Captured.run("inspect").isBadInput("missing required parameter: 'DIR'");
        Captured.run("train").isBadInput("no recipe given", "name a YAML file or one of quick");
        Captured.run("train", "quick", "--resume", run.toString())
                .isBadInput("a run goes on with its own recipe");
    }

    private Captured trainWith(String... arguments) {
        Path out = folder.resolve("out");
        Captured captured =
                Captured.run(
                        Stream.concat(
                                        Stream.of(
                                                "train",
                                                recipe.toString(),
                                                "--out",
                                                out.toString()),
                                        Stream.of(arguments))
                                .toArray(String[]::new));
        assertThat(out).as("nothing is left of a run that could not begin").doesNotExist();
        return captured;
    }

    @Test
    void devicesThatAreNotThereAreRefused() {
        trainWith("--device", "cuda:99").isBadInput("cuda:99: ", "--device cpu always works");
        trainWith("--device", "cuda:x").isBadInput("--device cuda:x: there is no such device");
        trainWith("--device", "cpu", "--dtype", "bfloat16")
                .isBadInput("bfloat16 on cpu", "float32 only", "use float32, or a CUDA device");
        trainWith("--dtype", "half")
                .isBadInput("'--dtype': 'half' is not one of auto, float32, bfloat16");
        Captured.run("train", "--resume", run.toString(), "--dtype", "float32")
                .isBadInput("a run goes on with its own recipe", "--dtype");
        trainWith("--device", "gpu").isBadInput("--device gpu: there is no such device");
        trainWith("--threads", "-3").isBadInput("--threads -3", "give 1 or more");
    }

    @Test
    void assignmentsAreChecked() {
        trainWith("--set", "seed").isBadInput("--set seed", "not of the form key=value");
        trainWith("--set", "sed=3").isBadInput("unknown key 'sed'", "did you mean 'seed'?");
        trainWith("--set", "stages.r.steps=3").isBadInput("there is no 'r'", "first, rl");
        trainWith("--set", "stages.rl.optim.rl=3")
                .isBadInput("--set stages.rl.optim.rl", "unknown key", "did you mean 'lr'?");
        trainWith("--set", "stages.rl.steps=many").isBadInput("'many', not a whole number");
        trainWith("--set", "stages.rl.steps=-1").isBadInput("-1, out of range");
    }

    /// The tiny recipe with a line changed.
    private Path changed(String before, String after) throws IOException {
        String text = Files.readString(recipe);
        assertThat(text).contains(before);
        return Files.writeString(
                folder.resolve("changed.yaml"),
                text.replace(before, after)
                        .replace("folder: data", "folder: " + temporary.resolve("data")));
    }

    private Captured trainFile(Path file) {
        Path out = folder.resolve("out");
        Captured captured = Captured.run("train", file.toString(), "--out", out.toString());
        assertThat(out).doesNotExist();
        return captured;
    }

    @Test
    void recipesAreChecked() throws IOException {
        trainFile(changed("    save_freq: 2", "    save_freqs: 2"))
                .isBadInput(
                        "changed.yaml line 18: unknown key 'stages.first.save_freqs'",
                        "did you mean 'save_freq'?");
        trainFile(changed("kind: grpo", "kind: grop"))
                .isBadInput("changed.yaml line 20", "'grop', which is not known", "'grpo'?");
        trainFile(changed("seed: 5", "seed: [5")).isBadInput("changed.yaml line", "not YAML");
        trainFile(folder.resolve("none.yaml")).isBadInput("none.yaml: there is no such recipe");
        trainFile(folder).isBadInput(folder.toString());
    }

    /// The tiny recipe over its own copy of the rows.
    private Path withOwnData() throws IOException {
        Path data = Files.createDirectory(folder.resolve("data"));
        try (Stream<Path> files = Files.list(temporary.resolve("data"))) {
            for (Path file : files.toList()) {
                Files.copy(file, data.resolve(String.valueOf(file.getFileName())));
            }
        }
        return Files.copy(recipe, folder.resolve("own.yaml"));
    }

    private void changeRow(String file, String before, String after) throws IOException {
        Path path = folder.resolve("data").resolve(file);
        List<String> lines = Files.readAllLines(path);
        assertThat(lines.get(2)).contains(before);
        lines.set(2, lines.get(2).replace(before, after));
        Files.write(path, lines);
    }

    @Test
    void dataAreCheckedBeforeTheFirstStep() throws IOException {
        Path own = withOwnData();
        changeRow("rl.jsonl", "\"ground_truth\"", "\"truth\"");
        trainFile(own)
                .isBadInput("rl.jsonl: line 3", "ground_truth is missing", "add the right answer");
        changeRow("rl.jsonl", "\"truth\"", "\"ground_truth\"");
        changeRow("rl.jsonl", "2.png", "two.png");
        trainFile(own).isBadInput("rl.jsonl: line 3", "two.png does not exist");
        changeRow("rl.jsonl", "two.png", "2.png");
        changeRow("sft.jsonl", "{", "");
        trainFile(own).isBadInput("sft.jsonl: line 3", "not JSON");
        Files.delete(folder.resolve("data/sft.jsonl"));
        trainFile(own).isBadInput("sft.jsonl", "does not exist", "check the path");
        Files.writeString(folder.resolve("data/sft.jsonl"), "\n");
        trainFile(own).isBadInput("sft.jsonl", "has no rows");
    }

    @Test
    void aCorruptImageIsNamedWithItsRow() throws IOException {
        Path own = withOwnData();
        Path image = folder.resolve("data/2.png");
        byte[] whole = Files.readAllBytes(image);
        Files.write(image, java.util.Arrays.copyOf(whole, whole.length / 2));
        Path out = folder.resolve("out");
        Captured.run("train", own.toString(), "--out", out.toString())
                .isBadInputAtLast("2.png", "sft.jsonl: line ");
        Files.write(image, whole);
        // The run had begun; once the picture is whole it goes on.
        Captured.run("train", "--resume", out.toString()).succeeds();
        assertSameWeights(out);
        Files.writeString(image, "no picture");
        Captured.run("generate", "-c", checkpoint.toString(), "-i", image.toString(), "What?")
                .isBadInput("2.png");
        Captured.run("generate", "-c", checkpoint.toString(), "-i", "none.png", "What?")
                .isBadInput("none.png");
    }

    @Test
    void aRunOfAGpuIsNotResumedWithoutOne() throws IOException {
        assumeFalse(CudaDevice.probe().usable(), "there is a GPU here");
        Path elsewhere = Files.createDirectory(folder.resolve("elsewhere"));
        Files.writeString(
                elsewhere.resolve("config.yaml"),
                Files.readString(run.resolve("config.yaml"))
                        .replace("device: \"cpu\"", "device: \"cuda\""));
        Captured.run("train", "--resume", elsewhere.toString())
                .isBadInput(
                        elsewhere + ": the run was computed on cuda, which can't be used here: ",
                        "go on with it on a machine with a GPU");
        Captured.run("train", "--resume", elsewhere.toString(), "--device", "cpu")
                .isBadInput("the run was computed on cuda", "go on with --device cuda");
    }

    private void assertSameWeights(Path other) throws IOException {
        Path last = other.resolve("checkpoints/step-" + TinyRun.STEPS);
        for (String name : List.of("model.safetensors", "optimizer.safetensors")) {
            assertThat(Files.mismatch(last.resolve(name), checkpoint.resolve(name)))
                    .as(name)
                    .isEqualTo(-1);
        }
    }

    private Path copyOfCheckpoint() throws IOException {
        Path copy = Files.createDirectory(folder.resolve("checkpoint"));
        try (Stream<Path> files = Files.list(checkpoint)) {
            for (Path file : files.toList()) {
                Files.copy(file, copy.resolve(String.valueOf(file.getFileName())));
            }
        }
        return copy;
    }

    private Captured generate(Path from) {
        return Captured.run(
                "generate",
                "-c",
                from.toString(),
                "-i",
                temporary.resolve("data/1.png").toString(),
                "What?");
    }

    private void allRefuse(Path bad, String... parts) {
        generate(bad).isBadInput(parts);
        Captured.run(
                        "eval",
                        "-c",
                        bad.toString(),
                        "-d",
                        temporary.resolve("data/eval.jsonl").toString())
                .isBadInput(parts);
        Captured train =
                trainWith(
                        "--set",
                        "model={path: '" + bad + "', chat_template: tiny}",
                        "--set",
                        "name=bad");
        train.isBadInputAtLast(parts);
    }

    @Test
    void aTruncatedCheckpointIsRefused() throws IOException {
        Path bad = copyOfCheckpoint();
        try (FileChannel channel =
                FileChannel.open(bad.resolve("model.safetensors"), StandardOpenOption.WRITE)) {
            channel.truncate(channel.size() - 1000);
        }
        allRefuse(bad, "model.safetensors");
        Captured.run("inspect", bad.toString()).isBadInput("model.safetensors");
    }

    @Test
    void aCheckpointOfAnotherShapeIsRefused() throws IOException {
        Path bad = copyOfCheckpoint();
        Path config = bad.resolve("config.json");
        String text = Files.readString(config);
        String changed = text.replaceAll("(\"intermediate_size\" ?: ?)32", "$140");
        assertThat(changed).isNotEqualTo(text);
        Files.writeString(config, changed);
        allRefuse(bad, "model.safetensors", "40", "32");
        Files.writeString(config, "{");
        allRefuse(bad, "config.json");
        Files.delete(config);
        allRefuse(bad, "config.json");
    }

    @Test
    void missingFilesAreNamed() {
        Path none = folder.resolve("none");
        generate(none).isBadInput("none/config.json", "there is no such file");
        Captured.run("inspect", none.toString()).isBadInput("none/config.json");
        Captured.run("tokenize", "-c", none.toString(), "x").isBadInput("none/tokenizer.json");
        Captured.run("eval", "-c", checkpoint.toString(), "-d", none.toString())
                .isBadInput("none", "does not exist");
        Captured.run("report", none.toString()).isBadInput("none: there is no such folder");
        Captured.run("report", folder.toString()).isBadInput("holds no run");
        Captured.run("train", "--resume", none.toString()).isBadInput("there is no such folder");
        Captured.run("train", "--resume", folder.toString()).isBadInput("is not a run");
        assertThat(none).doesNotExist();
    }

    @Test
    void aFolderInUseForSomethingElseIsLeftAlone() throws IOException {
        String file = Files.writeString(folder.resolve("mine.txt"), "x").toString();
        Captured.run("train", "smoke", "--out", folder.toString())
                .isBadInput(folder + ": is not empty (it holds mine.txt)", "another folder");
        Captured.run("train", "smoke", "--out", file).isBadInput("mine.txt: is a file");
        Captured.run("train", "smoke", "--out", file + "/x").isBadInput("mine.txt/x");
        Captured.run("quickstart", "--out", run.toString())
                .isBadInput("holds a run", "--resume " + run);
        Captured.run("train", "smoke", "--out", "/proc/none").isBadInput("can't be written");
        try (Stream<Path> left = Files.list(folder)) {
            assertThat(left).hasSize(1);
        }
    }

    @Test
    void aRunInUseIsRefused() {
        Path used = folder.resolve("used");
        try (CommandProcess other =
                CommandProcess.start(
                        folder,
                        List.of("-XX:TieredStopAtLevel=1"),
                        "train",
                        recipe.toString(),
                        "--set",
                        "stages.first.steps=1000000",
                        "--out",
                        used.toString())) {
            while (other.isAlive() && !other.messagesSoFar().contains("stage 1")) {
                LockSupport.parkNanos(10_000_000);
            }
            assertThat(other.isAlive()).as(other.messagesSoFar()).isTrue();
            Captured.run("train", "--resume", used.toString())
                    .isBadInput(used + ": is in use by process " + other.pid(), "wait or stop it");
        }
    }

    @Test
    void resultsCanBeReadByMachines() throws IOException {
        JsonNode doctor = JSON.readTree(Captured.run("doctor", "--json").succeeds());
        assertThat(doctor.path("vector_bits").asInt()).isPositive();
        JsonNode inspected =
                JSON.readTree(Captured.run("inspect", "--json", checkpoint.toString()).succeeds());
        long parameters = inspected.path("parameters").asLong();
        assertThat(parameters).isPositive();
        assertThat(inspected.path("layout").asString()).isEqualTo("native");
        assertThat(inspected.path("parameters_by_group").propertyNames())
                .containsExactly("vision", "connector", "language");
        assertThat(inspected.path("weights").path("parameters_by_type").path("F32").asLong())
                .isEqualTo(parameters);
        JsonNode needs = inspected.path("memory").path("cpu float32");
        assertThat(needs.path("inference").path("weights").asLong()).isEqualTo(4 * parameters);
        assertThat(needs.path("sft").path("total").asLong()).isEqualTo(16 * parameters);
        JsonNode tokens =
                JSON.readTree(
                        Captured.run("tokenize", "--json", "-c", checkpoint.toString(), "1+2")
                                .succeeds());
        assertThat(tokens.values()).extracting(node -> node.path("token").asString()).contains("+");
        JsonNode evaluated =
                JSON.readTree(
                        Captured.run(
                                        "eval",
                                        "--json",
                                        "--max-new-tokens",
                                        "4",
                                        "-c",
                                        checkpoint.toString(),
                                        "-d",
                                        temporary.resolve("data/eval.jsonl").toString())
                                .succeeds());
        assertThat(evaluated.path("accuracy").propertyNames()).contains("all", "third", "other");
        assertThat(evaluated.path("threshold").asDouble()).isEqualTo(6.8);
        assertThat(evaluated.path("critical_words")).hasSize(3);
        assertThat(evaluated.path("metrics").path("entropy/third/mean").asDouble()).isPositive();
        String table =
                Captured.run(
                                "eval",
                                "--max-new-tokens",
                                "4",
                                "--critical",
                                "long-list,Actually",
                                "--threshold",
                                "1",
                                "--critical-mass",
                                "0",
                                "-c",
                                checkpoint.toString(),
                                "-d",
                                temporary.resolve("data/eval.jsonl").toString())
                        .succeeds();
        assertThat(table).contains("Ah, Any, Actually; possible: more probable than 0.0");
        List<String> rows = table.lines().filter(line -> !line.isEmpty()).toList();
        assertThat(rows.subList(rows.size() - 5, rows.size()))
                .extracting(line -> line.substring(0, 16).strip())
                .containsExactly("all", "other", "third", "right answers", "wrong answers");
        assertThat(rows.get(rows.size() - 6)).contains(">1,%", "answers,%", "mass");
        assertThat(rows.subList(rows.size() - 6, rows.size()))
                .extracting(String::length)
                .containsOnly(16 + 10 * 10);
        String generated =
                Captured.run(
                                "generate",
                                "--json",
                                "-n",
                                "3",
                                "--temperature",
                                "1",
                                "--max-new-tokens",
                                "4",
                                "-c",
                                checkpoint.toString(),
                                "-i",
                                temporary.resolve("data/1.png").toString(),
                                "What?")
                        .succeeds();
        assertThat(generated.lines()).hasSize(3);
        for (String line : generated.lines().toList()) {
            assertThat(JSON.readTree(line).path("entropies").get(0).asDouble()).isPositive();
        }
    }

    @Test
    void theReportIsBuiltAnew() throws IOException {
        Files.delete(run.resolve("report.html"));
        assertThat(Captured.run("report", run.toString()).succeeds())
                .isEqualTo(run.resolve("report.html") + System.lineSeparator());
        assertThat(run.resolve("report.html")).isNotEmptyFile();
    }

    /// Sizes and memory of a checkpoint that hasn't been downloaded.
    @Test
    void aConfigurationAloneIsInspected() throws IOException {
        Files.copy(checkpoint.resolve("config.json"), folder.resolve("config.json"));
        assertThat(Captured.run("inspect", folder.toString()).succeeds())
                .contains("no weight files", "connector only", "cuda bfloat16");
        JsonNode facts =
                JSON.readTree(Captured.run("inspect", "--json", folder.toString()).succeeds());
        assertThat(facts.has("weights")).isFalse();
        assertThat(facts.path("parameters").asLong()).isPositive();
        Captured.run("inspect", "--tensors", folder.toString())
                .isBadInput("there is neither model.safetensors nor");
    }

    @Test
    void aModelIsComposed() throws IOException {
        Path composed = folder.resolve("composed");
        String parts = checkpoint.toString();
        assertThat(
                        Captured.run(
                                        "compose",
                                        "--vision",
                                        parts,
                                        "--text",
                                        parts,
                                        "--connector",
                                        parts,
                                        "--layout",
                                        "remote-code",
                                        "--out",
                                        composed.toString())
                                .succeeds())
                .contains(composed.toString());
        JsonNode facts =
                JSON.readTree(Captured.run("inspect", "--json", composed.toString()).succeeds());
        assertThat(facts.path("layout").asString()).isEqualTo("remote-code");
        assertThat(composed.resolve("tokenizer.json"))
                .hasSameBinaryContentAs(checkpoint.resolve("tokenizer.json"));
        Captured.run("compose", "--vision", parts, "--text", parts, "--out", composed.toString())
                .isBadInput("composed: is there already");
    }

    @Test
    void debugAddsTheStackTrace() {
        Captured captured = Captured.run("inspect", "--debug", folder.toString());
        assertThat(captured.status()).isEqualTo(2);
        assertThat(captured.err()).contains("\tat dev.saccade.").contains("saccade: ");
    }
}
