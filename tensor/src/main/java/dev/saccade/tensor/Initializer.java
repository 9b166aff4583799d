package dev.saccade.tensor;

import dev.saccade.kernels.sampling.Philox;
import java.nio.charset.StandardCharsets;

/// First values of parameters.
public final class Initializer {
    /// Keeps these random numbers apart from those for other purposes under the same seed.
    private static final int PURPOSE = 0x494e4954;

    private Initializer() {}

    /// Normal values of mean 0 and standard deviation `std`. They depend on the seed and on the
    /// parameter's name alone, not on what was initialised before.
    public static void normal(Parameter parameter, double std, long seed) {
        long key = Philox.key(seed, PURPOSE, 0, hash(parameter.name()), 0);
        HostFloats.upload(
                index -> (float) (std * Philox.gaussian(key, index)), parameter.value().span());
    }

    /// The same value everywhere.
    public static void constant(Parameter parameter, float value) {
        HostFloats.upload(_ -> value, parameter.value().span());
    }

    /// FNV-1a over UTF-8 in 64 bits (Fowler, Noll, Vo): the same in every release, unlike
    /// `hashCode`, of which only strings promise that, in 32 bits.
    private static long hash(String name) {
        long hash = 0xcbf29ce484222325L;
        for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
        }
        return hash;
    }
}
