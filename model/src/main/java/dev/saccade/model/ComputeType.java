package dev.saccade.model;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;

/// The type of a model's parameters and activations. Statistics, logits, log-probabilities,
/// entropies, the gradients of parameters and the optimiser's state are fp32 with either.
public enum ComputeType {
    FLOAT32("float32", DType.F32),
    BFLOAT16("bfloat16", DType.BF16);

    private final String label;
    private final DType dtype;

    ComputeType(String label, DType dtype) {
        this.label = label;
        this.dtype = dtype;
    }

    /// The name in recipes and options: `float32`, `bfloat16`.
    public String label() {
        return label;
    }

    /// The elements' type.
    public DType dtype() {
        return dtype;
    }

    /// What is used where nothing is asked for: bfloat16 on CUDA, float32 on the CPU.
    public static ComputeType defaultFor(Device device) {
        return switch (device) {
            case HostDevice _ -> FLOAT32;
            case CudaDevice _ -> BFLOAT16;
        };
    }

    /// Checks that a device computes in this type.
    ///
    /// @throws InputException when it does not: the CPU has float32 alone
    public void requireOn(Device device) {
        if (device instanceof HostDevice && this != FLOAT32) {
            throw new InputException(
                    label + " on " + device.name(),
                    "the CPU's kernels compute in float32 only",
                    "use float32, or a CUDA device");
        }
    }
}
