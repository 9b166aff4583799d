package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import picocli.CommandLine.Option;

/// Options of every command that computes.
final class CommonOptions {
    @Option(
            names = "--device",
            paramLabel = "DEVICE",
            description = "Where to compute: cpu, the only device of this version.",
            defaultValue = "cpu")
    String device = "cpu";

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "CPU threads (default: all processors). Never changes a result.")
    int threads;

    /// Opens the device that was asked for.
    Device open() {
        if (device.equals("cpu")) {
            if (threads < 0) {
                throw new InputException(
                        "--threads " + threads, "not a number of threads", "give 1 or more");
            }
            return threads == 0 ? HostDevice.open() : HostDevice.open(threads);
        }
        if (device.equals("cuda") || device.matches("cuda:\\d+")) {
            throw new InputException(
                    "--device " + device, "this version has no CUDA device", "use --device cpu");
        }
        throw new InputException(
                "--device " + device, "there is no such device", "use --device cpu");
    }
}
