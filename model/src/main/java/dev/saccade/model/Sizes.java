package dev.saccade.model;

/// Checks on the numbers of a configuration.
final class Sizes {
    private static final int MOST_LAYERS = 10_000;

    private Sizes() {}

    static void positive(String name, int value) {
        if (value < 1) {
            throw new IllegalArgumentException("%s is %d, not positive".formatted(name, value));
        }
    }

    /// Refuses what no model has and would take forever to count.
    static void layers(String name, int value) {
        positive(name, value);
        if (value > MOST_LAYERS) {
            throw new IllegalArgumentException(
                    "%s is %d, more than %d".formatted(name, value, MOST_LAYERS));
        }
    }

    static void divides(String partName, int part, String wholeName, int whole) {
        if (whole % part != 0) {
            throw new IllegalArgumentException(
                    "%s %d is not a multiple of %s %d".formatted(wholeName, whole, partName, part));
        }
    }

    /// The shortest decimal that reads back as `value`, as a double: 1e-6 and not 9.99999997475e-7.
    static double exact(float value) {
        return Double.parseDouble(Float.toString(value));
    }
}
