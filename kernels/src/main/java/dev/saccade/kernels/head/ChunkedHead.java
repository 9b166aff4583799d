package dev.saccade.kernels.head;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.sampling.Sampling;
import org.jspecify.annotations.Nullable;

/// The head on any device, by its products, [Entropy] and [Sampling]: forward and drawing some rows
/// at a time, backward some words at a time.
///
/// Backward goes by words because dW is then written once: by rows it would be read and written
/// once for every few hundred rows, which takes as long as the products. What is read and written
/// again instead are the F32 sums of dHidden, which are much smaller.
final class ChunkedHead implements Head {
    /// Rows that a tile of a product takes; a chunk of fewer would waste the rest.
    private static final int TILE_ROWS = 128;

    /// Words that a product over the vocabulary adds at once in BF16: chains may stop between.
    private static final int LINK = 16;

    /// Words that a chunk is a multiple of where there are so many.
    private static final int WORDS = 256;

    /// Words that rows of BF16 have to be a multiple of for fast products.
    private static final int ALIGNED_WORDS = 8;

    private final Device device;
    private final Gemm gemm;
    private final Entropy entropy;
    private final Sampling sampling;
    private final Elementwise elementwise;

    private ChunkedHead(
            Device device, Gemm gemm, Entropy entropy, Sampling sampling, Elementwise elementwise) {
        this.device = device;
        this.gemm = gemm;
        this.entropy = entropy;
        this.sampling = sampling;
        this.elementwise = elementwise;
    }

    /// With a device's operations.
    static ChunkedHead of(Device device) {
        return new ChunkedHead(
                device,
                Gemm.on(device),
                Entropy.on(device),
                Sampling.on(device),
                Elementwise.on(device));
    }

    /// Makes the gradient of some words' logits.
    interface LogitGradient {
        /// Writes dLogits [rows, words], of the operands' type.
        ///
        /// @param first the first word
        void of(int first, int words, Span dLogits);
    }

    @Override
    public void forward(Input input, Entropy.Results results) {
        overRows(input, results, null);
    }

    @Override
    public void sample(Input input, Draw draw, Entropy.Results results) {
        check(input, draw);
        overRows(input, results, draw);
    }

    private void overRows(Input input, Entropy.Results results, @Nullable Draw draw) {
        int rows = input.rows();
        int vocab = input.vocab();
        check(input);
        if (rows == 0) {
            return;
        }
        int chunk = rowsAtOnce(rows, vocab, input.scratchBytes());
        try (DeviceBuffer buffer = device.allocate((long) Float.BYTES * chunk * vocab)) {
            Span logits = Span.of(buffer, DType.F32);
            for (int from = 0; from < rows; from += chunk) {
                int count = Math.min(chunk, rows - from);
                Span targets = input.targets().slice(from, count);
                logits(input, from, count, 0, vocab, logits);
                if (draw != null) {
                    draw(input, draw, from, count, logits, targets);
                }
                entropy.forward(
                        Entropy.Rows.dense(count, vocab, input.temperature(), logits),
                        targets,
                        input.banned(),
                        new Entropy.Results(
                                results.logProb().slice(from, count),
                                slice(results.entropy(), from, count),
                                slice(results.lse(), from, count),
                                slice(results.maxProb(), from, count),
                                slice(results.argmax(), from, count),
                                results.set(),
                                slice(results.mass(), from, count)));
            }
        }
    }

    private void draw(Input input, Draw draw, int from, int count, Span logits, Span tokens) {
        int vocab = input.vocab();
        sampling.sample(
                count,
                vocab,
                draw.options(),
                logits,
                draw.withheld() == null ? input.banned() : draw.withheld(),
                draw.keys().slice(from, count),
                draw.positions().slice(from, count),
                tokens);
        if (draw.forced() != null) {
            sampling.settle(count, vocab, draw.forced().slice(from, count), null, tokens);
        }
    }

    /// How many rows' logits are held at once.
    static int rowsAtOnce(int rows, int vocab, long bytes) {
        long most = Math.max(1, bytes / ((long) Float.BYTES * vocab));
        long whole = most < TILE_ROWS ? most : most / TILE_ROWS * TILE_ROWS;
        return (int) Math.min(rows, whole);
    }

    /// How many words' logits and gradients are held at once.
    ///
    /// @param bytesPerLogit what one takes
    static int wordsAtOnce(int rows, int vocab, int bytesPerLogit, long bytes) {
        long most = bytes / ((long) bytesPerLogit * rows);
        int unit = most < WORDS ? LINK : WORDS;
        return (int) Math.min(vocab, Math.max(unit, most / unit * unit));
    }

    @Override
    public void backward(
            Input input,
            Span logProb,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            @Nullable Span dHidden,
            @Nullable Span dWeight) {
        int rows = input.rows();
        int vocab = input.vocab();
        DType type = check(input);
        if (rows == 0) {
            return;
        }
        int bytes = type == DType.F32 ? Float.BYTES : Float.BYTES + type.bytes();
        int chunk = wordsAtOnce(rows, vocab, bytes, input.scratchBytes());
        try (DeviceBuffer buffer = device.allocate((long) Float.BYTES * rows * chunk)) {
            Span logits = Span.of(buffer, DType.F32);
            LogitGradient gradient =
                    (first, words, dLogits) -> {
                        logits(input, 0, rows, first, words, logits);
                        this.entropy.backward(
                                Entropy.Rows.dense(rows, words, input.temperature(), logits),
                                new Entropy.Part(first, vocab, logProb),
                                input.targets(),
                                input.banned(),
                                entropy,
                                lse,
                                dLogProb,
                                dEntropy,
                                dLogits);
                    };
            if (type == DType.F32) {
                products(input, chunk, gradient, logits, dHidden, dWeight);
            } else {
                try (DeviceBuffer rounded = device.allocate((long) type.bytes() * rows * chunk)) {
                    products(input, chunk, gradient, Span.of(rounded, type), dHidden, dWeight);
                }
            }
        }
    }

    /// The products of dLogits with the weight and the hidden states, `chunk` words at a time.
    ///
    /// @param dLogits room for [rows, chunk]
    void products(
            Input input,
            int chunk,
            LogitGradient gradient,
            Span dLogits,
            @Nullable Span dHidden,
            @Nullable Span dWeight) {
        int rows = input.rows();
        int vocab = input.vocab();
        DType type = input.hidden().dtype();
        long elements = (long) rows * input.width();
        if (dHidden != null) {
            dHidden.require("dHidden", type, elements);
        }
        if (dWeight != null) {
            dWeight.require("dWeight", DType.F32, (long) vocab * input.width());
        }
        if (dHidden != null && type != DType.F32 && words(0, vocab, chunk) < vocab) {
            try (DeviceBuffer buffer = device.allocate(Float.BYTES * elements)) {
                Span sums = Span.of(buffer, DType.F32);
                overWords(input, chunk, gradient, dLogits, sums, dWeight);
                elementwise.cast(elements, sums, dHidden);
            }
        } else {
            overWords(input, chunk, gradient, dLogits, dHidden, dWeight);
        }
    }

    private void overWords(
            Input input,
            int chunk,
            LogitGradient gradient,
            Span dLogits,
            @Nullable Span dHidden,
            @Nullable Span dWeight) {
        int rows = input.rows();
        int width = input.width();
        int words;
        for (int first = 0; first < input.vocab(); first += words) {
            words = words(first, input.vocab(), chunk);
            gradient.of(first, words, dLogits);
            if (dWeight != null) {
                gemm.multiply(
                        new Gemm.Shape(Gemm.Layout.TN, words, width, rows),
                        dLogits,
                        input.hidden(),
                        dWeight.slice((long) first * width, (long) words * width),
                        Epilogue.ACCUMULATE);
            }
            if (dHidden != null) {
                gemm.multiply(
                        new Gemm.Shape(Gemm.Layout.NN, rows, width, words),
                        dLogits,
                        weight(input, first, words),
                        dHidden,
                        first == 0 ? Epilogue.STORE : Epilogue.ACCUMULATE);
            }
        }
    }

    /// Words of the chunk that begins at `first`. The last few words go alone where they would keep
    /// the rows of their chunk from lying on 16 bytes, which fast products need.
    static int words(int first, int vocab, int chunk) {
        int words = Math.min(chunk, vocab - first);
        return words % ALIGNED_WORDS == 0 || words < LINK ? words : words / LINK * LINK;
    }

    /// The logits of some rows and words.
    private void logits(Input input, int row, int rows, int word, int words, Span logits) {
        int width = input.width();
        gemm.multiply(
                new Gemm.Shape(Gemm.Layout.NT, rows, words, width),
                input.hidden().slice((long) row * width, (long) rows * width),
                weight(input, word, words),
                logits,
                Epilogue.STORE);
    }

    private static Span weight(Input input, int first, int words) {
        long width = input.width();
        return input.weight().slice(first * width, words * width);
    }

    private static @Nullable Span slice(@Nullable Span span, int from, int count) {
        return span == null ? null : span.slice(from, count);
    }

    /// Checks what is asked of a draw.
    static void check(Input input, Draw draw) {
        float temperature = draw.options().temperature();
        if (!draw.options().greedy() && temperature != input.temperature()) {
            throw new IllegalArgumentException(
                    "head: draws at temperature %s, log-probabilities at %s"
                            .formatted(temperature, input.temperature()));
        }
        draw.keys().require("keys", DType.I64, input.rows());
        draw.positions().require("positions", DType.I32, input.rows());
        if (draw.withheld() != null) {
            draw.withheld().require("withheld", DType.U8, input.vocab());
        }
        if (draw.forced() != null) {
            draw.forced().require("forced", DType.I32, input.rows());
        }
    }

    /// Checks the operands of the product.
    ///
    /// @return their type
    static DType check(Input input) {
        DType type = input.hidden().dtype();
        input.hidden().require("hidden", type, (long) input.rows() * input.width());
        input.weight().require("weight", type, (long) input.vocab() * input.width());
        input.targets().require("targets", DType.I32, input.rows());
        return type;
    }
}
