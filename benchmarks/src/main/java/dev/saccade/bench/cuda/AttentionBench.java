package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// Attention: the vision towers, the language models forward and backward, decoding.
public class AttentionBench extends DeviceSuite {
    /// A case of the list.
    @Param({
        "attention/300m",
        "attention/6b",
        "attention/1b",
        "attention/38b",
        "attention/300m-backward",
        "attention/38b-backward",
        "attention/1b-decode",
        "attention/38b-decode"
    })
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
