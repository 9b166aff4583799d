package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// The connector as training runs it: one operation of the tape, from the vision tower's output to
/// visual tokens, and back to the gradients of all its parameters. Of InternVL3-1B with 52 tiles
/// and 38B with 26, the forward pass without recording, and both passes.
public class ConnectorBench extends DeviceSuite {
    /// A case of the list.
    @Param({
        "connector/1b/forward",
        "connector/1b/both",
        "connector/38b/forward",
        "connector/38b/both"
    })
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
