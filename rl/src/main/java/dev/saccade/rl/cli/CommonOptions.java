package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.model.ComputeType;
import dev.saccade.rl.recipe.DeviceKind;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// Options of every command that computes.
final class CommonOptions {
    /// The types that can be asked for.
    enum DType {
        AUTO,
        FLOAT32,
        BFLOAT16
    }

    @Option(
            names = "--device",
            paramLabel = "cpu|cuda[:N]",
            description = "Where to compute (default: cuda where a GPU can be used, else cpu).")
    @Nullable String device;

    @Option(
            names = "--dtype",
            paramLabel = "auto|float32|bfloat16",
            defaultValue = "auto",
            description =
                    "Type of parameters and activations; auto is bfloat16 on cuda, float32 on cpu"
                            + " (default: ${DEFAULT-VALUE}).")
    DType dtype = DType.AUTO;

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "CPU threads (default: all processors). Never changes a result.")
    int threads;

    /// Opens the device that was asked for, or else the recipe's, or else the one to use here.
    ///
    /// @param recipes the device that a recipe names; null where none does
    Device open(@Nullable DeviceKind recipes) {
        if (device != null) {
            return DeviceChoice.open(device, threads);
        }
        DeviceKind kind = recipes == null ? DeviceChoice.automatic() : recipes;
        return DeviceChoice.open(kind.label(), threads);
    }

    /// What to compute in on a device.
    ComputeType type(Device opened) {
        return switch (dtype) {
            case AUTO -> ComputeType.defaultFor(opened);
            case FLOAT32 -> ComputeType.FLOAT32;
            case BFLOAT16 -> ComputeType.BFLOAT16;
        };
    }

    /// The assignments to a recipe that these options stand for.
    List<String> overrides() {
        List<String> overrides = new ArrayList<>();
        if (device != null) {
            overrides.add("device=" + DeviceChoice.kind(device).label());
        }
        if (dtype != DType.AUTO) {
            overrides.add("model.dtype=" + dtype.name().toLowerCase(Locale.ROOT));
        }
        return overrides;
    }

    /// The header line of a command that begins to compute.
    String header(Device opened, ComputeType type) {
        return "device " + DeviceChoice.describe(opened, type, device == null);
    }
}
