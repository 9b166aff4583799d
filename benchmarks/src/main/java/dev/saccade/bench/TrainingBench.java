package dev.saccade.bench;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.PackedBatch;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// A whole supervised step of the quick start's model: ViT, connector and decoder forward and
/// backward, clipping and AdamW, on 32 pictures and 32 x 56 tokens (4 of each sequence visual, loss
/// on the last 24). The peer is `benchmarks/peers/pytorch_tiny_training.py`, which has the same
/// shapes. Tokens per second are 1792 / time.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
@Warmup(iterations = 4, time = 4)
@Measurement(iterations = 5, time = 2)
@SuppressWarnings("NullAway.Init") // JMH calls open() before anything reads the fields
public class TrainingBench {
    private static final int BATCH = 32;
    private static final int LENGTH = 56;
    private static final int LOSS_TOKENS = 24;
    private static final int VOCABULARY = 320;
    private static final int VISUAL_START = 8;

    @Param("2")
    int threads;

    private HostDevice device;
    private VisionLanguageModel model;
    private AdamW optimizer;
    private PackedBatch batch;
    private float[] pixels;
    private int[] lossRows;
    private int[] targets;
    private float[] weights;
    private double firstLoss;

    /// Makes the model and one random batch.
    @Setup
    public void open() {
        device = HostDevice.open(threads);
        Kernels kernels = Kernels.of(device);
        VisionLanguageConfig config = VisionLanguageConfig.tiny(VOCABULARY, VOCABULARY - 1);
        model = VisionLanguageModel.initialize(config, kernels, 1);
        for (ParameterGroup group : ParameterGroup.values()) {
            model.parameters(group).forEach(parameter -> parameter.trainable(true));
        }
        optimizer =
                new AdamW(
                        kernels,
                        model.parameters().stream().filter(Parameter::trainable).toList(),
                        new AdamW.Settings(0.8, 0.95, 1e-8, 0.05, 1.0));
        Random random = new Random(1);
        int rows = BATCH * LENGTH;
        int[] tokens = random.ints(rows, 0, VOCABULARY - 1).toArray();
        int[] positions = new int[rows];
        int[] cumulative = new int[BATCH + 1];
        int visual = config.tokensPerTile();
        int[] imageRows = new int[BATCH * visual];
        int[] visualRows = new int[BATCH * visual];
        lossRows = new int[BATCH * LOSS_TOKENS];
        targets = new int[BATCH * LOSS_TOKENS];
        for (int s = 0; s < BATCH; s++) {
            cumulative[s + 1] = (s + 1) * LENGTH;
            for (int i = 0; i < LENGTH; i++) {
                positions[s * LENGTH + i] = i;
            }
            for (int i = 0; i < visual; i++) {
                imageRows[s * visual + i] = s * LENGTH + VISUAL_START + i;
                visualRows[s * visual + i] = s * visual + i;
                tokens[s * LENGTH + VISUAL_START + i] = VOCABULARY - 1;
            }
            for (int i = 0; i < LOSS_TOKENS; i++) {
                int row = (s + 1) * LENGTH - LOSS_TOKENS - 1 + i;
                lossRows[s * LOSS_TOKENS + i] = row;
                targets[s * LOSS_TOKENS + i] = tokens[row + 1];
            }
        }
        batch = new PackedBatch(tokens, positions, cumulative, imageRows, visualRows);
        pixels = new float[BATCH * 3 * 56 * 56];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = (float) random.nextGaussian();
        }
        weights = new float[lossRows.length];
        Arrays.fill(weights, -1f / lossRows.length);
        firstLoss = step();
        // Learning by heart must lower the loss: the benchmark checks that it trains.
        double last = firstLoss;
        for (int i = 0; i < 20; i++) {
            last = step();
        }
        if (!(last < firstLoss)) {
            throw new IllegalStateException("the loss went from " + firstLoss + " to " + last);
        }
    }

    /// One step.
    @Benchmark
    public double step() {
        try (Tape tape = Tape.recording(model.kernels())) {
            Tensor pictures = tape.upload(pixels, BATCH, 3, 56, 56);
            Tensor hidden = model.hidden(tape, batch, model.visualTokens(tape, pictures));
            Tensor rows = tape.takeRows(hidden, tape.upload(lossRows, lossRows.length));
            Tape.LogProbs logProbs =
                    model.logProbs(tape, rows, tape.upload(targets, targets.length), 1f);
            Tensor seed = tape.upload(weights, weights.length);
            double loss =
                    model.kernels()
                            .elementwise()
                            .dot(weights.length, logProbs.logProb().span(), seed.span());
            tape.backward(logProbs.logProb(), seed);
            optimizer.step(1e-3, 1);
            optimizer.zeroGradients();
            return loss;
        }
    }

    /// Frees everything.
    @TearDown
    public void close() {
        optimizer.close();
        model.close();
        device.close();
    }
}
