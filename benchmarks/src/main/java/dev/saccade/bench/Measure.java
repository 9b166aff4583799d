package dev.saccade.bench;

/// A secondary result of a JMH suite on a device.
///
/// @param label what it is: one of the constants, behind `peer.NAME.` where it is a peer's
/// @param value in `unit`
record Measure(String label, double value, String unit) {
    /// Microseconds of a run on the device's clock: the median of the turns.
    static final String TIME = "device";

    /// [Accuracy#error()].
    static final String ERROR = "error";

    /// [Accuracy#allowed()].
    static final String ALLOWED = "allowed";

    /// Arithmetic of a run.
    static final String FLOPS = "arithmetic";

    /// Traffic of a run.
    static final String BYTES = "traffic";

    /// [Peaks#flops()], and behind it whose it is.
    static final String PEAK_FLOPS = "peak.product.";

    /// [Peaks#bytes()].
    static final String PEAK_BYTES = "peak.copy";

    /// Before a peer's name.
    static final String PEER = "peer.";
}
