package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.optimizer.Optimizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// AdamW over parameters, with clipping by the gradient's global norm.
public final class AdamW implements AutoCloseable {
    /// The constants.
    ///
    /// @param maxGradNorm the global norm that gradients are clipped to; 0 = not at all
    public record Settings(
            double beta1, double beta2, double eps, double weightDecay, double maxGradNorm) {}

    /// What a step saw.
    ///
    /// @param gradNorm the gradient's global norm before clipping
    /// @param lr the learning rate
    public record StepResult(double gradNorm, double lr) {}

    private static final String FIRST = ".exp_avg";
    private static final String SECOND = ".exp_avg_sq";

    private record State(
            Parameter parameter, DeviceBuffer memory, Tensor first, Tensor second) {}

    private final Kernels kernels;
    private final Settings settings;
    private final List<State> states = new ArrayList<>();
    private long steps;

    /// An optimiser of the trainable ones of `parameters`; its moments are 0.
    public AdamW(Kernels kernels, List<Parameter> parameters, Settings settings) {
        this.kernels = kernels;
        this.settings = settings;
        for (Parameter parameter : parameters) {
            if (parameter.trainable()) {
                long elements = parameter.shape().elements();
                DeviceBuffer memory = kernels.device().allocate(2 * elements * Float.BYTES);
                Span both = Span.of(memory, DType.F32);
                kernels.elementwise().fill(2 * elements, 0, both);
                states.add(
                        new State(
                                parameter,
                                memory,
                                new Tensor(both.slice(0, elements), parameter.shape(), false),
                                new Tensor(
                                        both.slice(elements, elements), parameter.shape(), false)));
            }
        }
    }

    /// One step with the gradients as they are, each times `gradientScale`.
    public StepResult step(double lr, double gradientScale) {
        double squares = 0;
        for (State state : states) {
            squares +=
                    kernels.optimizer()
                            .sumOfSquares(
                                    state.parameter().shape().elements(),
                                    state.parameter().gradient().span());
        }
        double norm = StrictMath.sqrt(squares) * Math.abs(gradientScale);
        double scale = gradientScale;
        if (settings.maxGradNorm() > 0) {
            scale *= Math.min(1, settings.maxGradNorm() / (norm + 1e-6));
        }
        steps++;
        for (State state : states) {
            Parameter parameter = state.parameter();
            kernels.optimizer()
                    .adamW(
                            parameter.shape().elements(),
                            new Optimizer.AdamW(
                                    (float) lr,
                                    (float) settings.beta1(),
                                    (float) settings.beta2(),
                                    (float) settings.eps(),
                                    parameter.decays() ? (float) settings.weightDecay() : 0,
                                    steps,
                                    (float) scale),
                            parameter.value().span(),
                            parameter.gradient().span(),
                            state.first().span(),
                            state.second().span());
        }
        return new StepResult(norm, lr);
    }

    /// Sets every gradient to 0.
    public void zeroGradients() {
        states.forEach(state -> state.parameter().zeroGradient());
    }

    /// How many steps were taken.
    public long steps() {
        return steps;
    }

    /// Writes moments and step to a safetensors file.
    public void save(Path file) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        for (State state : states) {
            tensors.put(state.parameter().name() + FIRST, state.first());
            tensors.put(state.parameter().name() + SECOND, state.second());
        }
        SafetensorsWriter.write(file, Map.of("step", Long.toString(steps)), tensors);
    }

    /// Reads what [#save] wrote.
    public void restore(Path file) {
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            if (reader.entries().size() != 2 * states.size()) {
                throw new InputException(
                        file.toString(),
                        "holds the state of other parameters",
                        "use the checkpoint of this recipe");
            }
            for (State state : states) {
                reader.read(state.parameter().name() + FIRST, state.first());
                reader.read(state.parameter().name() + SECOND, state.second());
            }
            String step = reader.metadata().getOrDefault("step", "");
            try {
                steps = Long.parseLong(step);
            } catch (NumberFormatException e) {
                throw new InputException(
                        file.toString(), "has no step", "use another checkpoint", e);
            }
        }
    }

    @Override
    public void close() {
        states.forEach(state -> state.memory().close());
        states.clear();
    }
}
