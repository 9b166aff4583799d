package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// Log-probability and entropy of rows of logits with Qwen2's vocabulary.
public class EntropyBench extends DeviceSuite {
    /// A case of the list.
    @Param({"entropy/8192", "entropy/8192-bf16", "entropy/8192-backward", "entropy/64"})
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
