package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Param;

/// Matrix products: a square that others publish, and the layers of InternVL3-1B and 38B forward,
/// backward and decoding, the vision tower's patches, a batch of small products.
public class GemmBench extends DeviceSuite {
    /// A case of the list.
    @Param({
        "gemm/square/8192",
        "gemm/38b/qkv",
        "gemm/38b/gate-up",
        "gemm/38b/down",
        "gemm/38b/down-dx",
        "gemm/38b/down-dw",
        "gemm/6b/fc1-gelu",
        "gemm/1b/down",
        "gemm/1b/gate-up",
        "gemm/38b/decode64-down",
        "gemm/300m/patches",
        "gemm/batch/40x1024"
    })
    public String name = "";

    @Override
    String caseName() {
        return name;
    }
}
