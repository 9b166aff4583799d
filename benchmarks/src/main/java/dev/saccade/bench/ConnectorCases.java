package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.connector.UnshuffleNorm;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// The connector as a model runs it: one operation on a tape of its own, its memory included.
final class ConnectorCases {
    private static final int SAMPLES = 3;
    private static final float EPS = 1e-5f;

    private ConnectorCases() {}

    /// `op=connector tiles grid width inner out dtype [pass=both]`: the forward pass without
    /// recording, or both passes of a connector that trains behind a frozen tower, all its
    /// parameters' gradients added up in F32.
    static PreparedCase connector(Case work, Workbench bench) {
        Sizes sizes =
                new Sizes(
                        work.integer("tiles"),
                        work.integer("grid"),
                        work.integer("width"),
                        work.integer("inner"),
                        work.integer("out"),
                        work.dtype());
        boolean both = work.text("pass", "forward").equals("both");
        Run run = new Run(sizes, both, bench);
        bench.closeLater(run);
        return PreparedCase.of(
                sizes.flops() * (both ? 3 : 1),
                both ? sizes.bothBytes() : sizes.forwardBytes(),
                run.sets(),
                run::accept,
                run::reset,
                run::compare,
                null);
    }

    /// @param width of the vision tower
    private record Sizes(int tiles, int grid, int width, int inner, int out, DType dtype) {
        int wide() {
            return 4 * width;
        }

        int rows() {
            return UnshuffleNorm.rows(tiles, grid);
        }

        long inputs() {
            return (long) tiles * (1 + grid * grid) * width;
        }

        double flops() {
            return 2.0 * rows() * ((double) wide() * inner + (double) inner * out);
        }

        long parameters() {
            return 2L * wide() + ((long) wide() + 1) * inner + ((long) inner + 1) * out;
        }

        /// The patches, the parameters and the visual tokens.
        double forwardBytes() {
            return dtype.bytes()
                    * ((double) rows() * wide() + parameters() + (double) rows() * out);
        }

        /// Besides, the visual tokens' gradient read, and the parameters' read and written.
        double bothBytes() {
            return forwardBytes() + dtype.bytes() * (double) rows() * out + 8.0 * parameters();
        }

        /// Where element `i` of a row is in the tower's output.
        long place(int row, int i) {
            int half = grid / 2;
            int line = row / half;
            int tile = line / half;
            int y = line % half * 2 + i / width / 2;
            int x = row % half * 2 + i / width % 2;
            return (tile * (1L + (long) grid * grid) + 1 + (long) y * grid + x) * width + i % width;
        }
    }

    /// A parameter and what it was filled with: normal numbers times a power of two, which is exact
    /// in every type.
    private record Filled(Parameter parameter, Operand noise, float scale) {
        double value(long index) {
            return scale * noise.value(index);
        }

        float[] gradient(Workbench bench, long from, int count) {
            return bench.read(parameter.gradient().span(), from, count);
        }

        double gradient(Workbench bench, long index) {
            return bench.read(parameter.gradient().span(), index);
        }
    }

    /// The operands, and the tape of the last run, which holds its result.
    private static final class Run implements AutoCloseable {
        private final Sizes sizes;
        private final boolean both;
        private final Workbench bench;
        private final Kernels kernels;
        private final Tape constants;
        private final Operand x;
        private final Operand dy;
        private final Tensor[] inputs;
        private final Tensor[] seeds;
        private final Filled normWeight;
        private final Filled normBias;
        private final Filled firstWeight;
        private final Filled firstBias;
        private final Filled secondWeight;
        private final Filled secondBias;
        private @Nullable Tape tape;
        private @Nullable Tensor y;

        Run(Sizes sizes, boolean both, Workbench bench) {
            this.sizes = sizes;
            this.both = both;
            this.bench = bench;
            kernels = Kernels.of(bench.device());
            constants = Tape.inference(kernels);
            bench.closeLater(constants);
            int sets = bench.sets((long) (both ? sizes.bothBytes() : sizes.forwardBytes()));
            x = bench.normal(sizes.dtype, sizes.inputs(), sets);
            dy = bench.normal(sizes.dtype, (long) sizes.rows() * sizes.out, sets);
            inputs = new Tensor[sets];
            seeds = new Tensor[sets];
            int tokens = 1 + sizes.grid * sizes.grid;
            for (int set = 0; set < sets; set++) {
                inputs[set] = copy(x, set, sizes.tiles, tokens, sizes.width);
                seeds[set] = copy(dy, set, sizes.rows(), sizes.out);
            }
            normWeight = filled("norm.weight", 1, sizes.wide());
            normBias = filled("norm.bias", 1, sizes.wide());
            firstWeight = filled("first.weight", scale(sizes.wide()), sizes.inner, sizes.wide());
            firstBias = filled("first.bias", 0.5f, sizes.inner);
            secondWeight = filled("second.weight", scale(sizes.inner), sizes.out, sizes.inner);
            secondBias = filled("second.bias", 0.5f, sizes.out);
        }

        /// About 1 / sqrt(terms), so that a layer's results are of the size of its inputs.
        private static float scale(int terms) {
            return (float) Math.pow(2, -Math.rint(Math.log(Math.sqrt(terms)) / Math.log(2)));
        }

        private Tensor copy(Operand from, int set, long... dims) {
            Tensor to = constants.empty(sizes.dtype, dims);
            bench.device()
                    .copy(from.set(set).buffer(), 0, to.span().buffer(), 0, to.span().bytes());
            return to;
        }

        private Filled filled(String name, float scale, long... dims) {
            Parameter parameter =
                    new Parameter(name, ParameterGroup.CONNECTOR, kernels, sizes.dtype, dims);
            bench.closeLater(parameter);
            long count = parameter.shape().elements();
            Operand noise = bench.normal(sizes.dtype, count, 1);
            Elementwise elementwise = kernels.elementwise();
            elementwise.scale(count, scale, noise.set(0), parameter.value().span());
            parameter.trainable(both);
            return new Filled(parameter, noise, scale);
        }

        int sets() {
            return inputs.length;
        }

        void accept(int set) {
            release();
            Tape current = both ? Tape.recording(kernels) : Tape.inference(kernels);
            tape = current;
            y =
                    current.connector(
                            inputs[set],
                            sizes.grid,
                            affine(normWeight, normBias),
                            EPS,
                            affine(firstWeight, firstBias),
                            affine(secondWeight, secondBias));
            if (both) {
                current.backward(y, seeds[set]);
            }
        }

        private static Tape.Affine affine(Filled weight, Filled bias) {
            return new Tape.Affine(weight.parameter, bias.parameter);
        }

        void reset() {
            release();
            for (Filled filled :
                    new Filled[] {
                        normWeight, normBias, firstWeight, firstBias, secondWeight, secondBias
                    }) {
                filled.parameter.zeroGradient();
            }
        }

        private void release() {
            if (tape != null) {
                tape.close();
            }
            tape = null;
            y = null;
        }

        @Override
        public void close() {
            release();
        }

        void compare() {
            Tensor result = y;
            if (result == null) {
                throw new IllegalStateException("the connector has not run");
            }
            for (int sample = 0; sample < SAMPLES; sample++) {
                int row = sample == 0 ? sizes.rows() - 1 : (int) bench.draw((long) sizes.rows());
                double[] hidden = hidden(normed(row));
                for (int column = sample; column < sizes.out; column += 1 + sizes.out / 7) {
                    Sum sum = new Sum();
                    for (int m = 0; m < sizes.inner; m++) {
                        sum.add(hidden[m] * secondWeight.value(at(column, m, sizes.inner)));
                    }
                    sum.add(secondBias.value(column));
                    long index = at(row, column, sizes.out);
                    require("y[" + row + ", " + column + "]", sizes.dtype, result, index, sum);
                }
            }
            if (both) {
                compareGradients();
            }
        }

        /// One inner unit m, one output o, one input j: their gradients over all rows. The norm's
        /// gradients need every unit, so they are compared with what the other gradients say of
        /// them: with d = the sum over rows of dz[m], which is b1's gradient, and W1's gradient
        /// G[m, j] = the sum of dz[m] (n[j] w[j] + b[j]), the norm's bias has the gradient sum over
        /// m of d[m] W1[m, j], its weight that of (G[m, j] - d[m] b[j]) W1[m, j] / w[j].
        private void compareGradients() {
            int m = (int) bench.draw((long) sizes.inner);
            int o = (int) bench.draw((long) sizes.out);
            int j = (int) bench.draw((long) sizes.wide());
            while (Math.abs(normWeight.value(j)) < 1) {
                j = (j + 1) % sizes.wide();
            }
            Sum outputBias = new Sum();
            Sum outputWeight = new Sum();
            Sum innerBias = new Sum();
            Sum innerWeight = new Sum();
            for (int row = 0; row < sizes.rows(); row++) {
                double[] normed = normed(row);
                double z = preActivation(normed, m);
                double upstream = dy.value(at(row, o, sizes.out));
                outputBias.add(upstream);
                outputWeight.add(upstream * rounded(Formulas.gelu(z)));
                double dHidden = 0;
                for (int i = 0; i < sizes.out; i++) {
                    dHidden +=
                            dy.value(at(row, i, sizes.out))
                                    * secondWeight.value(at(i, m, sizes.inner));
                }
                double dz = rounded(dHidden * Formulas.geluSlope(rounded(z)));
                innerBias.add(dz);
                innerWeight.add(dz * normed[j]);
            }
            require("second.bias", secondBias, o, outputBias);
            require("second.weight", secondWeight, at(o, m, sizes.inner), outputWeight);
            require("first.bias", firstBias, m, innerBias);
            require("first.weight", firstWeight, at(m, j, sizes.wide()), innerWeight);
            float[] sums = firstBias.gradient(bench, 0, sizes.inner);
            Sum normBiases = new Sum();
            Sum normWeights = new Sum();
            for (int unit = 0; unit < sizes.inner; unit++) {
                long index = at(unit, j, sizes.wide());
                double weight = firstWeight.value(index);
                double shared = sums[unit] * normBias.value(j);
                normBiases.add(sums[unit] * weight);
                normWeights.add(
                        (firstWeight.gradient(bench, index) - shared)
                                * weight
                                / normWeight.value(j));
            }
            require("norm.bias", normBias, j, normBiases);
            require("norm.weight", normWeight, j, normWeights);
        }

        /// A row's input of the first layer, rounded as it is stored.
        private double[] normed(int row) {
            int wide = sizes.wide();
            double[] values = new double[wide];
            double sum = 0;
            for (int i = 0; i < wide; i++) {
                values[i] = x.value(sizes.place(row, i));
                sum += values[i];
            }
            double mean = sum / wide;
            double squares = 0;
            for (double value : values) {
                squares += (value - mean) * (value - mean);
            }
            double rstd = 1 / Math.sqrt(squares / wide + EPS);
            for (int i = 0; i < wide; i++) {
                values[i] =
                        rounded(
                                (values[i] - mean) * rstd * normWeight.value(i)
                                        + normBias.value(i));
            }
            return values;
        }

        private double preActivation(double[] normed, int m) {
            double z = firstBias.value(m);
            for (int i = 0; i < normed.length; i++) {
                z += normed[i] * firstWeight.value(at(m, i, normed.length));
            }
            return z;
        }

        private double[] hidden(double[] normed) {
            double[] hidden = new double[sizes.inner];
            for (int m = 0; m < sizes.inner; m++) {
                hidden[m] = rounded(Formulas.gelu(preActivation(normed, m)));
            }
            return hidden;
        }

        private double rounded(double value) {
            return sizes.dtype == DType.BF16 ? Workbench.roundToBf16((float) value) : value;
        }

        private static long at(int row, int column, int columns) {
            return (long) row * columns + column;
        }

        private void require(String gradient, Filled filled, long index, Sum exact) {
            Tensor sums = filled.parameter.gradient();
            require("gradient of " + gradient + "[" + index + "]", DType.F32, sums, index, exact);
        }

        /// Compares one element. Roundings on the way to it are taken as the same: those that are
        /// not, and those of the norm's upstream gradient, are independent errors of its terms.
        private void require(String what, DType dtype, Tensor got, long index, Sum exact) {
            double slack = sizes.dtype == DType.BF16 ? 0x1p-7 : 0x1p-16;
            bench.require(
                    what,
                    dtype,
                    bench.read(got.span(), index),
                    exact.value,
                    1e-3 + Math.sqrt(exact.squares),
                    slack);
        }
    }

    /// A sum, and the sum of its terms' squares.
    private static final class Sum {
        private double value;
        private double squares;

        void add(double term) {
            value += term;
            squares += term * term;
        }
    }
}
