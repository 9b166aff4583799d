package dev.saccade.tensor;

import dev.saccade.kernels.sampling.Philox;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;

/// First values of parameters. Random ones are keyed by the seed and the parameter's name, so they
/// do not depend on the order of creation.
public final class Initializer {
    private static final int PURPOSE = 1;
    private static final int CHUNK = 1 << 18;

    private Initializer() {}

    /// Normal values of mean 0 and standard deviation `std`.
    public static void normal(Parameter parameter, double std, long seed) {
        long key = Philox.key(seed, PURPOSE, hash(parameter.name()), 0, 0);
        long elements = parameter.shape().elements();
        Tensor value = parameter.value();
        for (long from = 0; from < elements; from += CHUNK) {
            float[] values = new float[(int) Math.min(CHUNK, elements - from)];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (std * Philox.gaussian(key, from + i));
            }
            value.device()
                    .upload(
                            MemorySegment.ofArray(values),
                            value.span().buffer(),
                            (value.span().offset() + from) * Float.BYTES);
        }
    }

    /// One value everywhere.
    public static void constant(Parameter parameter, float value) {
        float[] values = new float[Math.toIntExact(parameter.shape().elements())];
        java.util.Arrays.fill(values, value);
        parameter
                .value()
                .device()
                .upload(
                        MemorySegment.ofArray(values),
                        parameter.value().span().buffer(),
                        parameter.value().span().offset() * Float.BYTES);
    }

    /// FNV-1a, 64 bits.
    private static long hash(String name) {
        long hash = 0xcbf29ce484222325L;
        for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
        }
        return hash;
    }
}
