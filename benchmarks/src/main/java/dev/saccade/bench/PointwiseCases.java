package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.activation.Activation;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.kernels.optimizer.Optimizer;
import java.util.function.LongToDoubleFunction;

/// Operations on one element at a time: `dtype count`; bias gradients: `dtype rows width`.
final class PointwiseCases {
    private static final int SAMPLES = 32;

    /// Lost by fp32 arithmetic and functions.
    private static final double ARITHMETIC = 0x1p-19;

    private PointwiseCases() {}

    /// Compares samples; `1` is added to the magnitude for what is lost by cancellation inside.
    private static void compare(
            Workbench bench, String what, Operand result, LongToDoubleFunction exact) {
        long count = result.set(0).length();
        for (int sample = 0; sample < SAMPLES; sample++) {
            long at = sample == 0 ? count - 1 : bench.draw(count);
            double value = exact.applyAsDouble(at);
            bench.require(
                    what + "[" + at + "]",
                    result.dtype(),
                    bench.read(result.set(0), at),
                    value,
                    1 + Math.abs(value),
                    ARITHMETIC);
        }
    }

    private static int sets(Case work, Workbench bench, int tensors) {
        return bench.sets((long) tensors * work.dtype().bytes() * work.integer("count"));
    }

    private static double bytes(Case work, int tensors) {
        return (double) tensors * work.dtype().bytes() * work.integer("count");
    }

    static PreparedCase gelu(Case work, Workbench bench) {
        Activation activation = Activation.on(bench.device());
        int count = work.integer("count");
        int sets = sets(work, bench, 2);
        Operand z = bench.normal(work.dtype(), count, sets);
        Operand y = bench.empty(work.dtype(), count, sets);
        return PreparedCase.of(
                0,
                bytes(work, 2),
                sets,
                set -> activation.gelu(count, z.set(set), y.set(set)),
                () -> bench.reset(y),
                () -> compare(bench, "y", y, i -> Formulas.gelu(z.value(i))),
                null);
    }

    static PreparedCase geluBackward(Case work, Workbench bench) {
        Activation activation = Activation.on(bench.device());
        int count = work.integer("count");
        int sets = sets(work, bench, 3);
        Operand z = bench.normal(work.dtype(), count, sets);
        Operand dy = bench.normal(work.dtype(), count, sets);
        Operand dz = bench.empty(work.dtype(), count, sets);
        return PreparedCase.of(
                0,
                bytes(work, 3),
                sets,
                set -> activation.geluBackward(count, z.set(set), dy.set(set), dz.set(set)),
                () -> bench.reset(dz),
                () -> compare(bench, "dz", dz, i -> dy.value(i) * Formulas.geluSlope(z.value(i))),
                null);
    }

    static PreparedCase swiGlu(Case work, Workbench bench) {
        Activation activation = Activation.on(bench.device());
        int count = work.integer("count");
        int sets = sets(work, bench, 3);
        Operand gate = bench.normal(work.dtype(), count, sets);
        Operand up = bench.normal(work.dtype(), count, sets);
        Operand y = bench.empty(work.dtype(), count, sets);
        return PreparedCase.of(
                0,
                bytes(work, 3),
                sets,
                set -> activation.swiGlu(count, gate.set(set), up.set(set), y.set(set)),
                () -> bench.reset(y),
                () -> compare(bench, "y", y, i -> Formulas.silu(gate.value(i)) * up.value(i)),
                null);
    }

    static PreparedCase swiGluBackward(Case work, Workbench bench) {
        Activation activation = Activation.on(bench.device());
        int count = work.integer("count");
        int sets = sets(work, bench, 5);
        Operand gate = bench.normal(work.dtype(), count, sets);
        Operand up = bench.normal(work.dtype(), count, sets);
        Operand dy = bench.normal(work.dtype(), count, sets);
        Operand dGate = bench.empty(work.dtype(), count, sets);
        Operand dUp = bench.empty(work.dtype(), count, sets);
        return PreparedCase.of(
                0,
                bytes(work, 5),
                sets,
                set ->
                        activation.swiGluBackward(
                                count,
                                gate.set(set),
                                up.set(set),
                                dy.set(set),
                                dGate.set(set),
                                dUp.set(set)),
                () -> {
                    bench.reset(dGate);
                    bench.reset(dUp);
                },
                () -> {
                    compare(
                            bench,
                            "dGate",
                            dGate,
                            i -> dy.value(i) * up.value(i) * Formulas.siluSlope(gate.value(i)));
                    compare(bench, "dUp", dUp, i -> dy.value(i) * Formulas.silu(gate.value(i)));
                },
                null);
    }

    static PreparedCase add(Case work, Workbench bench) {
        Elementwise elementwise = Elementwise.on(bench.device());
        int count = work.integer("count");
        int sets = sets(work, bench, 3);
        Operand a = bench.normal(work.dtype(), count, sets);
        Operand b = bench.normal(work.dtype(), count, sets);
        Operand y = bench.empty(work.dtype(), count, sets);
        return PreparedCase.of(
                0,
                bytes(work, 3),
                sets,
                set -> elementwise.add(count, a.set(set), b.set(set), y.set(set)),
                () -> bench.reset(y),
                () -> compare(bench, "y", y, i -> a.value(i) + b.value(i)),
                null);
    }

    /// `op=cast dtype out count`.
    static PreparedCase cast(Case work, Workbench bench) {
        Elementwise elementwise = Elementwise.on(bench.device());
        int count = work.integer("count");
        DType output = work.dtype("out");
        double bytes = (double) count * (work.dtype().bytes() + output.bytes());
        int sets = bench.sets((long) bytes);
        Operand x = bench.normal(work.dtype(), count, sets);
        Operand y = bench.empty(output, count, sets);
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set -> elementwise.cast(count, x.set(set), y.set(set)),
                () -> bench.reset(y),
                () ->
                        compare(
                                bench,
                                "y",
                                y,
                                i ->
                                        output == DType.BF16
                                                ? Workbench.roundToBf16((float) x.value(i))
                                                : x.value(i)),
                null);
    }

    /// `op=sum_rows dtype rows width`: the gradient of a bias.
    static PreparedCase sumRows(Case work, Workbench bench) {
        Elementwise elementwise = Elementwise.on(bench.device());
        int rows = work.integer("rows");
        int width = work.integer("width");
        double bytes = (double) work.dtype().bytes() * rows * width + 8.0 * width;
        int sets = bench.sets((long) bytes);
        Operand x = bench.normal(work.dtype(), (long) rows * width, sets);
        Operand sum = bench.zeros(DType.F32, width, 1);
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set -> elementwise.sumRows(rows, width, x.set(set), sum.set(0)),
                () -> bench.reset(sum),
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int column = (int) bench.draw((long) width);
                        double exact = 0;
                        double magnitude = 0;
                        for (int row = 0; row < rows; row++) {
                            double value = x.value((long) row * width + column);
                            exact += value;
                            magnitude += Math.abs(value);
                        }
                        bench.require(
                                "sum[" + column + "]",
                                DType.F32,
                                bench.read(sum.set(0), column),
                                exact,
                                magnitude,
                                ARITHMETIC);
                    }
                },
                null);
    }

    /// `op=adamw count [rounded=bf16]`: one step, all F32; `rounded` also writes a copy of the new
    /// weights.
    static PreparedCase adamW(Case work, Workbench bench) {
        Optimizer optimizer = Optimizer.on(bench.device());
        int count = work.integer("count");
        Operand weight = bench.normal(DType.F32, count, 1);
        Operand gradient = bench.normal(DType.F32, count, 1);
        Operand first = bench.normal(DType.F32, count, 1);
        Operand second = bench.zeros(DType.F32, count, 1);
        boolean rounds = work.parameters().containsKey("rounded");
        Operand rounded = bench.empty(DType.BF16, rounds ? count : 1, 1);
        Optimizer.AdamW options = new Optimizer.AdamW(1e-3f, 0.9f, 0.95f, 1e-8f, 0.05f, 10, 0.5f);
        return PreparedCase.of(
                0,
                (rounds ? 30.0 : 28.0) * count, // w, g, m, v in; w, m, v and the copy out
                1,
                _ ->
                        optimizer.adamW(
                                count,
                                options,
                                weight.set(0),
                                gradient.set(0),
                                first.set(0),
                                second.set(0),
                                rounds ? rounded.set(0) : null),
                () -> {
                    bench.reset(weight);
                    bench.reset(first);
                    bench.reset(second);
                },
                () -> {
                    LongToDoubleFunction exact =
                            i -> {
                                double g = options.gradientScale() * gradient.value(i);
                                double m =
                                        options.beta1() * first.value(i)
                                                + (1 - options.beta1()) * g;
                                double v = (1 - options.beta2()) * g * g;
                                double mHat = m / (1 - Math.pow(options.beta1(), 10));
                                double vHat = v / (1 - Math.pow(options.beta2(), 10));
                                double lr = options.learningRate();
                                return weight.value(i) * (1 - lr * options.weightDecay())
                                        - lr * mHat / (Math.sqrt(vHat) + options.eps());
                            };
                    compare(bench, "weight", weight, exact);
                    if (rounds) {
                        compare(bench, "rounded", rounded, exact);
                    }
                },
                null);
    }
}
