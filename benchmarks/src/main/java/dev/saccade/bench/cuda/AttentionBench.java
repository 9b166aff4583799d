package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// Attention: the vision towers, the language models forward and backward, packed lengths, prompts
/// that answers share, decoding.
public class AttentionBench extends DeviceSuite {
    /// A case of the list.
    @Param({
        "attention/300m",
        "attention/6b",
        "attention/1b",
        "attention/38b",
        "attention/38b-mixed",
        "attention/300m-backward",
        "attention/1b-backward",
        "attention/38b-backward",
        "attention/38b-mixed-backward",
        "attention/shared-training/8x3400+600",
        "attention/shared-training/8x3400+600-backward",
        "attention/1b-decode",
        "attention/38b-decode"
    })
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
