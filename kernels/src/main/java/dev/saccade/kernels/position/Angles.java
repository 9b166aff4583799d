package dev.saccade.kernels.position;

/// The angles of rotary positions, in double precision and rounded once; every device's table is
/// made of these.
final class Angles {
    private final double[] frequencies;

    Angles(int headDim, double theta) {
        if (headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException("rotary head dim " + headDim + " is not even");
        }
        frequencies = new double[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = StrictMath.pow(theta, -2.0 * i / headDim);
        }
    }

    float cosine(int position, int i) {
        return (float) StrictMath.cos(position * frequencies[i]);
    }

    float sine(int position, int i) {
        return (float) StrictMath.sin(position * frequencies[i]);
    }
}
