package dev.saccade.model.connector;

import static dev.saccade.model.ParameterSpecification.vector;
import static dev.saccade.model.ParameterSpecification.weight;

import dev.saccade.model.ParameterSpecification;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.List;
import java.util.function.Function;

/// From patches to visual tokens: the class token is dropped, 2x2 neighbouring patches become one
/// vector (pixel unshuffle), then LayerNorm, a linear layer, GELU (exact) and a linear layer to the
/// decoder's width. Source: InternVL's `mlp1`.
public final class Connector {
    private static final String PREFIX = "model.multi_modal_projector.";
    private static final float LAYER_NORM_EPS = 1e-5f;

    private final int grid;
    private final Tape.Affine norm;
    private final Tape.Affine first;
    private final Tape.Affine second;

    /// @param grid patches along a side of a tile
    /// @param parameters finds a parameter by its checkpoint name
    public Connector(int grid, Function<String, Parameter> parameters) {
        this.grid = grid;
        this.norm = affine("layer_norm", parameters);
        this.first = affine("linear_1", parameters);
        this.second = affine("linear_2", parameters);
    }

    private static Tape.Affine affine(String name, Function<String, Parameter> parameters) {
        return new Tape.Affine(
                parameters.apply(PREFIX + name + ".weight"),
                parameters.apply(PREFIX + name + ".bias"));
    }

    /// The connector's parameters in checkpoint order.
    ///
    /// @param visionWidth the vision tower's hidden size
    /// @param textWidth the decoder's hidden size
    public static List<ParameterSpecification> parameters(long visionWidth, long textWidth) {
        ParameterGroup group = ParameterGroup.CONNECTOR;
        long unshuffled = 4 * visionWidth;
        return List.of(
                vector(PREFIX + "layer_norm.weight", group, 1, unshuffled),
                vector(PREFIX + "layer_norm.bias", group, 0, unshuffled),
                weight(PREFIX + "linear_1.weight", group, textWidth, unshuffled),
                vector(PREFIX + "linear_1.bias", group, 0, textWidth),
                weight(PREFIX + "linear_2.weight", group, textWidth, textWidth),
                vector(PREFIX + "linear_2.bias", group, 0, textWidth));
    }

    /// The visual tokens of the vision tower's output.
    ///
    /// @param x [tiles, 1 + grid * grid, vision width]
    /// @return [tiles * (grid/2)^2, text width], tile by tile, rows of the picture first
    public Tensor forward(Tape tape, Tensor x) {
        return tape.connector(x, grid, norm, LAYER_NORM_EPS, first, second);
    }
}
