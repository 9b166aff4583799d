package dev.saccade.kernels.attention;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.testing.Buffers;

/// Attention by its definition, in double precision (the exact result) or with every operation
/// rounded to fp32 (the naive one); in bf16, what is multiplied with a bf16 operand (probabilities,
/// slopes, the output as the forward pass left it) is rounded to that, too.
final class AttentionOracle {
    /// What the forward pass computes.
    record Forward(double[] o, double[] lse) {}

    /// What the backward pass computes.
    record Backward(double[] dq, double[] dk, double[] dv) {}

    private final Shape shape;
    private final Sequences sequences;
    private final boolean rounding;
    private final DType operands;

    AttentionOracle(Shape shape, Sequences sequences, boolean rounding) {
        this(shape, sequences, rounding, DType.F32);
    }

    private AttentionOracle(Shape shape, Sequences sequences, boolean rounding, DType operands) {
        this.shape = shape;
        this.sequences = sequences;
        this.rounding = rounding;
        this.operands = operands;
    }

    /// The naive computation on operands of type `dtype`.
    static AttentionOracle naive(Shape shape, Sequences sequences, DType dtype) {
        return new AttentionOracle(shape, sequences, true, dtype);
    }

    /// A value of the oracle's precision.
    private double at(double value) {
        return rounding ? (float) value : value;
    }

    /// A value as an operand of a product.
    private double operand(double value) {
        return rounding ? Buffers.rounded(operands, (float) value) : value;
    }

    private int queryRow(int s, int query, int head) {
        return ((sequences.queryStart()[s] + query) * shape.heads() + head) * shape.headDim();
    }

    private int keyRow(int s, int key, int head) {
        int kvHead = head / (shape.heads() / shape.kvHeads());
        return ((sequences.keyStart()[s] + key) * shape.kvHeads() + kvHead) * shape.headDim();
    }

    private int visible(int s, int query) {
        int keys = sequences.keyLength()[s];
        return shape.causal() ? keys - sequences.queryLength()[s] + query + 1 : keys;
    }

    private double product(double[] a, int atA, double[] b, int atB) {
        double sum = 0;
        for (int d = 0; d < shape.headDim(); d++) {
            sum = at(sum + at(a[atA + d] * b[atB + d]));
        }
        return sum;
    }

    /// The softmax over the visible keys; the last element is its logarithmic denominator.
    private double[] probabilities(double[] q, double[] k, int s, int query, int head) {
        int visible = visible(s, query);
        double[] p = new double[visible + 1];
        double top = Double.NEGATIVE_INFINITY;
        int row = queryRow(s, query, head);
        for (int j = 0; j < visible; j++) {
            p[j] = at(shape.scale() * product(q, row, k, keyRow(s, j, head)));
            top = Math.max(top, p[j]);
        }
        double sum = 0;
        for (int j = 0; j < visible; j++) {
            p[j] = at(Math.exp(at(p[j] - top)));
            sum = at(sum + p[j]);
        }
        for (int j = 0; j < visible; j++) {
            p[j] = at(p[j] / sum);
        }
        p[visible] = at(top + at(Math.log(sum)));
        return p;
    }

    Forward forward(double[] q, double[] k, double[] v) {
        double[] o = new double[q.length];
        double[] lse = new double[q.length / shape.headDim()];
        for (int s = 0; s < sequences.count(); s++) {
            for (int query = 0; query < sequences.queryLength()[s]; query++) {
                for (int head = 0; head < shape.heads(); head++) {
                    double[] p = probabilities(q, k, s, query, head);
                    int row = queryRow(s, query, head);
                    lse[row / shape.headDim()] = p[p.length - 1];
                    for (int j = 0; j < p.length - 1; j++) {
                        int key = keyRow(s, j, head);
                        double weight = operand(p[j]);
                        for (int d = 0; d < shape.headDim(); d++) {
                            o[row + d] = at(o[row + d] + at(weight * v[key + d]));
                        }
                    }
                }
            }
        }
        return new Forward(o, lse);
    }

    Backward backward(double[] q, double[] k, double[] v, double[] dO) {
        double[] dq = new double[q.length];
        double[] dk = new double[k.length];
        double[] dv = new double[v.length];
        double[] o = forward(q, k, v).o();
        for (int i = 0; i < o.length; i++) {
            o[i] = operand(o[i]);
        }
        for (int s = 0; s < sequences.count(); s++) {
            for (int query = 0; query < sequences.queryLength()[s]; query++) {
                for (int head = 0; head < shape.heads(); head++) {
                    double[] p = probabilities(q, k, s, query, head);
                    int row = queryRow(s, query, head);
                    double constant = product(dO, row, o, row);
                    for (int j = 0; j < p.length - 1; j++) {
                        int key = keyRow(s, j, head);
                        double slope = at(product(dO, row, v, key) - constant);
                        double dS = at(operand(at(p[j] * slope)) * shape.scale());
                        double weight = operand(p[j]);
                        for (int d = 0; d < shape.headDim(); d++) {
                            dq[row + d] = at(dq[row + d] + at(dS * k[key + d]));
                            dk[key + d] = at(dk[key + d] + at(dS * q[row + d]));
                            dv[key + d] = at(dv[key + d] + at(weight * dO[row + d]));
                        }
                    }
                }
            }
        }
        return new Backward(dq, dk, dv);
    }
}
