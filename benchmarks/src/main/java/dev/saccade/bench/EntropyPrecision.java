package dev.saccade.bench;

import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.model.ComputeType;
import dev.saccade.model.Prompt;
import dev.saccade.model.TrainingBatch;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Progress;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.rollout.Purpose;
import dev.saccade.rl.rollout.RowEncoder;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Formatter;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/// `./saccade bench --entropy-precision CHECKPOINT DATA [PICTURE.svg]`: how far the entropies of
/// sampled tokens are off, with logits in fp32 as the engine keeps them, and with the same logits
/// rounded to bf16, as frameworks do that leave the head in bf16. Both are compared with float64 on
/// the fp32 logits. Answers to the rows of DATA are sampled at temperature 1 on the CPU.
final class EntropyPrecision {
    private static final int MOST_ROWS = 64;
    private static final int MOST_TOKENS = 64;
    private static final int MOST_TILES = 4;
    private static final int BATCH = 16;

    private static final int WIDTH = 640;
    private static final int HEIGHT = 360;
    private static final int LEFT = 64;
    private static final int TOP = 24;
    private static final int RIGHT = 16;
    private static final int BOTTOM = 48;

    /// The decades of the picture's errors, in nats.
    private static final int LOWEST = -9;

    private static final int HIGHEST = 0;

    private static final String WIDE_COLOR = "#0072b2";
    private static final String NARROW_COLOR = "#d55e00";

    private EntropyPrecision() {}

    /// One sampled token.
    ///
    /// @param entropy exact, in nats
    /// @param wide what fp32 is off by
    /// @param narrow what bf16 logits are off by
    private record Sample(double entropy, double wide, double narrow) {}

    static int run(List<String> words, PrintStream out) throws IOException {
        if (words.size() < 2 || words.size() > 3) {
            throw new InputException(
                    "--entropy-precision",
                    "it takes a checkpoint, a data set and perhaps a picture",
                    "give CHECKPOINT DATA [PICTURE.svg]");
        }
        List<Sample> samples = measure(Path.of(words.get(0)), Path.of(words.get(1)));
        out.printf(
                Locale.ROOT,
                "| entropies of %d tokens, mean %.3f nats | mean error | 99th percentile | largest |%n",
                samples.size(),
                samples.stream().mapToDouble(Sample::entropy).average().orElse(Double.NaN));
        out.println("|---|---|---|---|");
        line(out, "fp32 logits and sums", samples, Sample::wide);
        line(out, "bf16 logits, exact sums", samples, Sample::narrow);
        if (words.size() == 3) {
            Files.writeString(Path.of(words.get(2)), picture(samples));
        }
        return 0;
    }

    private static void line(
            PrintStream out, String name, List<Sample> samples, ToDoubleFunction<Sample> error) {
        double[] errors = samples.stream().mapToDouble(error).sorted().toArray();
        out.printf(
                Locale.ROOT,
                "| %s | %.2g | %.2g | %.2g |%n",
                name,
                Arrays.stream(errors).average().orElse(Double.NaN),
                errors.length == 0 ? Double.NaN : errors[(int) (0.99 * (errors.length - 1))],
                errors.length == 0 ? Double.NaN : errors[errors.length - 1]);
    }

    private static List<Sample> measure(Path checkpoint, Path data) {
        List<Sample> samples = new ArrayList<>();
        try (Device device = HostDevice.open();
                VisionLanguageModel model =
                        VisionLanguageModel.load(
                                checkpoint, Kernels.of(device), ComputeType.defaultFor(device))) {
            RowEncoder encoder =
                    new RowEncoder(
                            model.config(),
                            Tokenizer.load(checkpoint),
                            ChatTemplate.read(checkpoint),
                            MOST_TILES);
            int most = model.config().text().maxPositionEmbeddings() - MOST_TOKENS;
            DataSet set = DataSet.read(data);
            List<Prompt> prompts =
                    set.rows().stream()
                            .limit(MOST_ROWS)
                            .map(row -> encoder.prompt(row, most).prompt())
                            .toList();
            SamplingOptions options =
                    new SamplingOptions(1, 0, 1, MOST_TOKENS, encoder.stopTokens());
            Generator generator = new Generator(model);
            for (int from = 0; from < prompts.size(); from += BATCH) {
                List<Prompt> some = prompts.subList(from, Math.min(from + BATCH, prompts.size()));
                List<Request> requests = new ArrayList<>();
                for (int i = 0; i < some.size(); i++) {
                    long key = Purpose.EVALUATION.key(1, 0, from + i, 0);
                    requests.add(new Request(some.get(i), key));
                }
                List<Completion> completions = generator.generate(requests, options, Progress.NONE);
                compare(model, some, completions, samples);
            }
        }
        return samples;
    }

    private static void compare(
            VisionLanguageModel model,
            List<Prompt> prompts,
            List<Completion> completions,
            List<Sample> samples) {
        TrainingBatch batch =
                TrainingBatch.pack(
                        model.config(),
                        prompts,
                        completions.stream().map(Completion::tokens).toList());
        int vocab = model.config().text().vocabSize();
        int count = batch.targets().length;
        try (Tape tape = Tape.inference(model.kernels())) {
            Tensor hidden =
                    model.hidden(tape, batch.batch(), model.visualTokens(tape, batch.pixels()));
            Tensor rows = tape.takeRows(hidden, tape.upload(batch.predictionRows(), count));
            float[] logits = model.logits(tape, rows).toFloats();
            byte[] banned = bytes(model.bannedTokens(), vocab);
            int row = 0;
            for (Completion completion : completions) {
                for (float kept : completion.entropies()) {
                    double[] wide = new double[vocab];
                    double[] narrow = new double[vocab];
                    for (int word = 0; word < vocab; word++) {
                        float x = logits[row * vocab + word];
                        boolean no = banned[word] != 0;
                        wide[word] = no ? Double.NEGATIVE_INFINITY : x;
                        narrow[word] = no ? Double.NEGATIVE_INFINITY : Workbench.roundToBf16(x);
                    }
                    double exact = entropy(wide);
                    samples.add(
                            new Sample(
                                    exact,
                                    Math.abs(kept - exact),
                                    Math.abs(entropy(narrow) - exact)));
                    row++;
                }
            }
        }
    }

    private static byte[] bytes(Tensor flags, int count) {
        byte[] values = new byte[count];
        Span span = flags.span();
        flags.device().download(span.buffer(), span.offset(), MemorySegment.ofArray(values));
        return values;
    }

    private static double entropy(double[] z) {
        double max = Arrays.stream(z).max().orElseThrow();
        double sum = 0;
        double weighted = 0;
        for (double x : z) {
            double power = Math.exp(x - max);
            sum += power;
            weighted += power == 0 ? 0 : power * (x - max);
        }
        return Math.log(sum) - weighted / sum;
    }

    /// Errors over entropies, a dot a token, errors on a logarithmic axis.
    private static String picture(List<Sample> samples) {
        double most = samples.stream().mapToDouble(Sample::entropy).max().orElse(1);
        Formatter svg = new Formatter(Locale.ROOT);
        svg.format(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\""
                        + " font-family=\"sans-serif\" font-size=\"12\">%n",
                WIDTH, HEIGHT);
        svg.format("<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>%n");
        for (int decade = LOWEST; decade <= HIGHEST; decade++) {
            double y = y(Math.pow(10, decade));
            svg.format("<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>%n", LEFT, y, WIDTH - RIGHT);
            svg.format(
                    "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">1e%d</text>%n",
                    LEFT - 6, y + 4, decade);
        }
        for (int tenth = 0; tenth <= 10; tenth += 2) {
            double entropy = most * tenth / 10;
            svg.format(
                    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.2f</text>%n",
                    x(entropy, most), HEIGHT - BOTTOM + 18, entropy);
        }
        for (Sample sample : samples) {
            dot(svg, x(sample.entropy, most), sample.narrow, NARROW_COLOR);
            dot(svg, x(sample.entropy, most), sample.wide, WIDE_COLOR);
        }
        svg.format(
                "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">entropy, nats</text>%n",
                (LEFT + WIDTH) / 2, HEIGHT - 10);
        svg.format(
                "<text x=\"%d\" y=\"16\">error, nats: <tspan fill=\"%s\">bf16 logits</tspan>,"
                        + " <tspan fill=\"%s\">fp32</tspan></text>%n",
                LEFT, NARROW_COLOR, WIDE_COLOR);
        svg.format("</svg>%n");
        return svg.toString();
    }

    private static void dot(Formatter svg, double x, double error, String color) {
        svg.format(
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1.6\" fill=\"%s\" fill-opacity=\"0.5\"/>%n",
                x, y(error), color);
    }

    private static double x(double entropy, double most) {
        return LEFT + (WIDTH - LEFT - RIGHT) * (most == 0 ? 0 : entropy / most);
    }

    private static double y(double error) {
        double decade = Math.clamp(Math.log10(Math.max(error, 1e-300)), LOWEST, HIGHEST);
        return TOP + (HEIGHT - TOP - BOTTOM) * (HIGHEST - decade) / (HIGHEST - LOWEST);
    }
}
