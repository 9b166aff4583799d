package dev.saccade.bench;

import dev.saccade.bench.peer.Work;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;

/// Log-probability and entropy of rows of logits: `rows vocab [dtype]`; F32 where nothing is said.
final class EntropyCases {
    private static final int SAMPLES = 3;
    private static final float TEMPERATURE = 0.8f;

    private EntropyCases() {}

    /// A row's distribution.
    private record Distribution(double lse, double entropy) {

        static Distribution of(Operand logits, int row, int vocab) {
            long at = (long) row * vocab;
            double sum = 0;
            double weighted = 0;
            for (int i = 0; i < vocab; i++) {
                double z = logits.value(at + i) / TEMPERATURE;
                double power = Math.exp(z);
                sum += power;
                weighted += power * z;
            }
            double lse = Math.log(sum);
            return new Distribution(lse, lse - weighted / sum);
        }
    }

    static PreparedCase forward(Case work, Workbench bench) {
        Entropy kernel = Entropy.on(bench.device());
        int rows = work.integer("rows");
        int vocab = work.integer("vocab");
        DType dtype = work.dtype();
        double bytes = (double) dtype.bytes() * rows * vocab + 16.0 * rows;
        int sets = bench.sets((long) bytes);
        Operand logits = bench.normal(dtype, (long) rows * vocab, sets);
        int[] targets = bench.draw(rows, vocab);
        Span targetSpan = bench.integers(targets);
        Operand logProb = bench.empty(DType.F32, rows, 1);
        Operand entropy = bench.empty(DType.F32, rows, 1);
        Operand lse = bench.empty(DType.F32, rows, 1);
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set ->
                        kernel.forward(
                                rows,
                                vocab,
                                TEMPERATURE,
                                logits.set(set),
                                targetSpan,
                                null,
                                logProb.set(0),
                                entropy.set(0),
                                lse.set(0)),
                () -> {
                    bench.reset(logProb);
                    bench.reset(entropy);
                    bench.reset(lse);
                },
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = sample == 0 ? rows - 1 : (int) bench.draw((long) rows);
                        Distribution exact = Distribution.of(logits, row, vocab);
                        double z = logits.value((long) row * vocab + targets[row]) / TEMPERATURE;
                        require("log-probability", bench, logProb, row, z - exact.lse);
                        require("entropy", bench, entropy, row, exact.entropy);
                        require("lse", bench, lse, row, exact.lse);
                    }
                },
                null);
    }

    private static void require(
            String what, Workbench bench, Operand result, int row, double exact) {
        bench.require(
                what + " of row " + row,
                DType.F32,
                bench.read(result.set(0), row),
                exact,
                1 + Math.abs(exact),
                0x1p-18);
    }

    static PreparedCase backward(Case work, Workbench bench) {
        Entropy kernel = Entropy.on(bench.device());
        int rows = work.integer("rows");
        int vocab = work.integer("vocab");
        double bytes = 8.0 * rows * vocab + 20.0 * rows;
        Operand logits = bench.normal(DType.F32, (long) rows * vocab, 1);
        int[] targets = bench.draw(rows, vocab);
        Span targetSpan = bench.integers(targets);
        Operand logProb = bench.empty(DType.F32, rows, 1);
        Operand entropy = bench.empty(DType.F32, rows, 1);
        Operand lse = bench.empty(DType.F32, rows, 1);
        Operand dLogProb = bench.normal(DType.F32, rows, 1);
        Operand dEntropy = bench.normal(DType.F32, rows, 1);
        Operand dLogits = bench.empty(DType.F32, (long) rows * vocab, 1);
        kernel.forward(
                rows,
                vocab,
                TEMPERATURE,
                logits.set(0),
                targetSpan,
                null,
                logProb.set(0),
                entropy.set(0),
                lse.set(0));
        return PreparedCase.of(
                0,
                bytes,
                1,
                _ ->
                        kernel.backward(
                                rows,
                                vocab,
                                TEMPERATURE,
                                logits.set(0),
                                targetSpan,
                                null,
                                entropy.set(0),
                                lse.set(0),
                                dLogProb.set(0),
                                dEntropy.set(0),
                                dLogits.set(0)),
                () -> bench.reset(dLogits),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = sample == 0 ? rows - 1 : (int) bench.draw((long) rows);
                        Distribution exact = Distribution.of(logits, row, vocab);
                        long at = (long) row * vocab;
                        float[] got = bench.read(dLogits.set(0), at, vocab);
                        for (int i = 0; i < vocab; i++) {
                            double logP = logits.value(at + i) / TEMPERATURE - exact.lse;
                            double p = Math.exp(logP);
                            double hit = i == targets[row] ? 1 : 0;
                            double fromLogProb = dLogProb.value(row) * (hit - p);
                            double fromEntropy = -dEntropy.value(row) * p * (logP + exact.entropy);
                            bench.require(
                                    "dLogits[%d, %d]".formatted(row, i),
                                    DType.F32,
                                    got[i],
                                    (fromLogProb + fromEntropy) / TEMPERATURE,
                                    p * (1 + Math.abs(logP) + Math.abs(exact.entropy)) * 4 + hit,
                                    0x1p-17);
                        }
                    }
                },
                null);
    }

    /// `op=softmax rows vocab`: what cuDNN reads and writes at least for the same rows. The engine
    /// has no softmax of its own; its entropy runs beside it.
    static PreparedCase softmax(Case work, Workbench bench) {
        PreparedCase forward = forward(work, bench);
        int rows = work.integer("rows");
        int vocab = work.integer("vocab");
        Operand x = bench.normal(DType.F32, (long) rows * vocab, 1);
        Operand y = bench.empty(DType.F32, (long) rows * vocab, 1);
        return new PreparedCase(
                0,
                forward.bytes(),
                forward.sets(),
                forward.clock(),
                forward.run(),
                forward.reset(),
                forward.compare(),
                new PreparedCase.ForPeers(
                        new Work.Softmax(rows, vocab),
                        _ -> new long[] {x.set(0).address(), y.set(0).address()},
                        () -> {
                            for (int sample = 0; sample < SAMPLES; sample++) {
                                int row = (int) bench.draw((long) rows);
                                double sum = 0;
                                for (int i = 0; i < vocab; i++) {
                                    sum += Math.exp(x.value((long) row * vocab + i));
                                }
                                int column = (int) bench.draw((long) vocab);
                                long at = (long) row * vocab + column;
                                double exact = Math.exp(x.value(at)) / sum;
                                bench.require(
                                        "softmax[%d, %d]".formatted(row, column),
                                        DType.F32,
                                        bench.read(y.set(0), at),
                                        exact,
                                        exact,
                                        0x1p-18);
                            }
                        }),
                forward.rivals());
    }
}
