package dev.saccade.model;

import dev.saccade.tensor.Initializer;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Shape;

/// What a parameter is before it has memory: enough to count, check and initialise it.
///
/// @param name its name in a Hugging Face-native checkpoint
/// @param group the part of the model it belongs to
/// @param initial how a new model fills it
/// @param decays whether weight decay applies: to weight matrices, not to embeddings, class token,
///   positions, layer scales, norms and biases
/// @param shape its shape in the checkpoint
public record ParameterSpecification(
        String name, ParameterGroup group, Initial initial, boolean decays, Shape shape) {

    /// How a new model fills a parameter.
    public sealed interface Initial {
        /// Normal with mean 0 and standard deviation `std`.
        record Normal(double std) implements Initial {}

        /// The same value everywhere.
        record Constant(float value) implements Initial {}

        /// Fills a parameter; the same seed and name give the same values.
        default void fill(Parameter parameter, long seed) {
            switch (this) {
                case Normal(double std) -> Initializer.normal(parameter, std, seed);
                case Constant(float value) -> Initializer.constant(parameter, value);
            }
        }
    }

    /// A weight matrix (or convolution): normal with std 1/sqrt(fan-in), the fan-in being all
    /// dimensions but the first; decays.
    public static ParameterSpecification weight(String name, ParameterGroup group, long... dims) {
        Shape shape = Shape.of(dims);
        double fanIn = (double) shape.elements() / shape.dim(0);
        return new ParameterSpecification(
                name, group, new Initial.Normal(1 / Math.sqrt(fanIn)), true, shape);
    }

    /// A table that is looked up or added: normal with standard deviation `std`; does not decay.
    public static ParameterSpecification embedding(
            String name, ParameterGroup group, double std, long... dims) {
        return new ParameterSpecification(
                name, group, new Initial.Normal(std), false, Shape.of(dims));
    }

    /// A vector that starts at `value`: a bias, a norm's weight, a layer scale; does not decay.
    public static ParameterSpecification vector(
            String name, ParameterGroup group, float value, long width) {
        return new ParameterSpecification(
                name, group, new Initial.Constant(value), false, Shape.of(width));
    }
}
