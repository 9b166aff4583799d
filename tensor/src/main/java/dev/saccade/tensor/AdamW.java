package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.optimizer.Optimizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// AdamW with clipping by the gradients' global norm.
///
/// Moments are F32. A parameter that isn't F32 also has an F32 master copy here: steps are taken on
/// that, and the parameter receives it rounded.
public final class AdamW implements AutoCloseable {

    /// The constants.
    ///
    /// @param beta1 decay of the first moment
    /// @param beta2 decay of the second moment
    /// @param eps added to the root of the second moment
    /// @param weightDecay decoupled decay, times lr, of parameters that decay
    ///   ([Parameter#decays()])
    /// @param maxGradNorm the global norm that gradients are clipped to; 0 or less for no clipping
    public record Settings(
            double beta1, double beta2, double eps, double weightDecay, double maxGradNorm) {}

    /// What a step did.
    ///
    /// @param gradNorm the gradients' global norm, scaled and before clipping; when it isn't
    ///   finite, the step changed nothing
    /// @param lr the learning rate
    public record StepResult(double gradNorm, double lr) {}

    private static final String STEP = "step";

    /// One parameter's state, in one piece of memory.
    private record State(
            Parameter parameter,
            DeviceBuffer memory,
            Tensor first,
            Tensor second,
            @Nullable Tensor master) {

        static State of(Kernels kernels, Parameter parameter) {
            Shape shape = parameter.shape();
            long elements = shape.elements();
            boolean mastered = parameter.value().dtype() != DType.F32;
            DeviceBuffer memory =
                    kernels.device().allocate((mastered ? 3 : 2) * elements * Float.BYTES);
            kernels.device().fill(memory, 0, memory.bytes(), (byte) 0);
            Tensor[] parts = new Tensor[mastered ? 3 : 2];
            for (int i = 0; i < parts.length; i++) {
                Span span = new Span(memory, i * elements, elements, DType.F32);
                parts[i] = new Tensor(span, shape, false);
            }
            if (mastered) {
                kernels.elementwise().cast(elements, parameter.value().span(), parts[2].span());
            }
            return new State(parameter, memory, parts[0], parts[1], mastered ? parts[2] : null);
        }

        /// The tensors by their names in a file.
        SequencedMap<String, Tensor> tensors() {
            SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
            tensors.put(parameter.name() + ".exp_avg", first);
            tensors.put(parameter.name() + ".exp_avg_sq", second);
            if (master != null) {
                tensors.put(parameter.name() + ".master", master);
            }
            return tensors;
        }
    }

    private final Kernels kernels;
    private final Settings settings;
    private final List<State> states = new ArrayList<>();
    private long steps;

    /// An optimiser of those of `parameters` that are trainable now, with moments of 0.
    ///
    /// @throws IllegalArgumentException when a parameter is given twice
    public AdamW(Kernels kernels, List<Parameter> parameters, Settings settings) {
        this.kernels = kernels;
        this.settings = settings;
        Set<String> names = new HashSet<>();
        for (Parameter parameter : parameters) {
            if (!names.add(parameter.name())) {
                throw new IllegalArgumentException(parameter.name() + " is there twice");
            }
        }
        try {
            for (Parameter parameter : parameters) {
                if (parameter.trainable()) {
                    states.add(State.of(kernels, parameter));
                }
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /// One step. The gradients, each times `gradientScale`, are scaled down together when their
    /// global norm exceeds [Settings#maxGradNorm()]: by `maxGradNorm / (norm + 1e-6)`. The norm is
    /// summed in double, parameter after parameter. A parameter that no backward pass has reached
    /// has the gradient 0.
    ///
    /// @param lr the learning rate of this step
    /// @param gradientScale e.g. 1 / (micro-batches), or 1
    public StepResult step(double lr, double gradientScale) {
        List<Span> gradients =
                states.stream().map(state -> state.parameter().gradient().span()).toList();
        double squares = kernels.optimizer().sumOfSquares(gradients);
        double norm = StrictMath.sqrt(squares) * Math.abs(gradientScale);
        if (!Double.isFinite(norm)) {
            return new StepResult(norm, lr);
        }
        double scale = gradientScale;
        if (settings.maxGradNorm() > 0) {
            scale *= Math.min(1, settings.maxGradNorm() / (norm + 1e-6));
        }
        steps++;
        for (State state : states) {
            update(state, lr, scale);
        }
        return new StepResult(norm, lr);
    }

    private void update(State state, double lr, double scale) {
        Parameter parameter = state.parameter();
        Tensor master = state.master();
        Tensor weight = master == null ? parameter.value() : master;
        long elements = parameter.shape().elements();
        kernels.optimizer()
                .adamW(
                        elements,
                        new Optimizer.AdamW(
                                (float) lr,
                                (float) settings.beta1(),
                                (float) settings.beta2(),
                                (float) settings.eps(),
                                parameter.decays() ? (float) settings.weightDecay() : 0,
                                steps,
                                (float) scale),
                        weight.span(),
                        parameter.gradient().span(),
                        state.first().span(),
                        state.second().span(),
                        master == null ? null : parameter.value().span());
    }

    /// Sets the gradients of all its parameters to 0.
    public void zeroGradients() {
        states.forEach(state -> state.parameter().zeroGradient());
    }

    /// How many steps were taken.
    public long steps() {
        return steps;
    }

    /// Writes the state to a safetensors file: `<parameter>.exp_avg`, `<parameter>.exp_avg_sq`, for
    /// a parameter that isn't F32 `<parameter>.master`, and the metadata `step`. The weights are
    /// not in it.
    public void save(Path file) {
        SafetensorsWriter.write(file, Map.of(STEP, Long.toString(steps)), tensors());
    }

    /// Reads what [#save(Path)] wrote; with the same weights, the steps that follow have the same
    /// bits as if there had been no pause.
    ///
    /// @throws InputException when the file isn't the state of these parameters; nothing has
    ///   changed then
    public void restore(Path file) {
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            SequencedMap<String, Tensor> tensors = tensors();
            for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
                reader.require(entry.getKey(), entry.getValue());
            }
            for (String name : reader.entries().keySet()) {
                if (!tensors.containsKey(name)) {
                    throw unusable(file, "holds " + name + ", which isn't trained here", null);
                }
            }
            String step = reader.metadata().getOrDefault(STEP, "");
            long restored;
            try {
                restored = Long.parseLong(step);
            } catch (NumberFormatException e) {
                throw unusable(file, "has no step count in its metadata", e);
            }
            tensors.forEach(reader::read);
            steps = restored;
        }
    }

    private static InputException unusable(Path file, String why, @Nullable Throwable cause) {
        String cure = "resume with the recipe and checkpoint that it was saved with";
        return cause == null
                ? new InputException(file.toString(), why, cure)
                : new InputException(file.toString(), why, cure, cause);
    }

    private SequencedMap<String, Tensor> tensors() {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        states.forEach(state -> tensors.putAll(state.tensors()));
        return tensors;
    }

    /// Frees the state.
    @Override
    public void close() {
        states.forEach(state -> state.memory().close());
        states.clear();
    }
}
