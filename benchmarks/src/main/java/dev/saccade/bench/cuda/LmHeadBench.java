package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// The language model's head with log-probability and entropy, in one: forward, both passes,
/// decoding.
public class LmHeadBench extends DeviceSuite {
    /// A case of the list.
    @Param({
        "head/1b",
        "head/1b-backward",
        "head/8b",
        "head/8b-backward",
        "head/38b",
        "head/8b-decode64"
    })
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
