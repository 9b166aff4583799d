package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// Any case of the list: `-p name=gemm/6b/qkv`. `--table --list` shows their names.
public class OperationBench extends DeviceSuite {
    /// A case of the list.
    @Param({"rms-norm/38b", "layer-norm/6b", "gelu/forward", "swiglu/forward", "adamw/f32"})
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
