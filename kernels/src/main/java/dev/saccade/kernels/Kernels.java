package dev.saccade.kernels;

import dev.saccade.engine.Device;
import dev.saccade.kernels.activation.Activation;
import dev.saccade.kernels.advance.Advance;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.attention.PrefixedAttention;
import dev.saccade.kernels.connector.PixelUnshuffle;
import dev.saccade.kernels.connector.UnshuffleNorm;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.kernels.embedding.Embedding;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.head.Head;
import dev.saccade.kernels.loss.PolicyLoss;
import dev.saccade.kernels.norm.Norm;
import dev.saccade.kernels.optimizer.Optimizer;
import dev.saccade.kernels.patch.Patch;
import dev.saccade.kernels.position.Rope;
import dev.saccade.kernels.sampling.Sampling;

/// Every operation of one device.
public record Kernels(
        Device device,
        Gemm gemm,
        Attention attention,
        PrefixedAttention prefixedAttention,
        Norm norm,
        Activation activation,
        Rope rope,
        Embedding embedding,
        Patch patch,
        PixelUnshuffle pixelUnshuffle,
        UnshuffleNorm unshuffleNorm,
        Entropy entropy,
        Head head,
        Sampling sampling,
        PolicyLoss policyLoss,
        Optimizer optimizer,
        Elementwise elementwise,
        Advance advance) {

    /// Lists what the build compiled; it is there where nvcc was.
    private static final String MANIFEST = "META-INF/kernels/manifest.json";

    /// The operations of `device`.
    public static Kernels of(Device device) {
        return new Kernels(
                device,
                Gemm.on(device),
                Attention.on(device),
                PrefixedAttention.on(device),
                Norm.on(device),
                Activation.on(device),
                Rope.on(device),
                Embedding.on(device),
                Patch.on(device),
                PixelUnshuffle.on(device),
                UnshuffleNorm.on(device),
                Entropy.on(device),
                Head.on(device),
                Sampling.on(device),
                PolicyLoss.on(device),
                Optimizer.on(device),
                Elementwise.on(device),
                Advance.on(device));
    }

    /// Whether this build holds CUDA kernels: whether nvcc was there when it was made. Without them
    /// [#of] refuses a CUDA device.
    public static boolean builtForCuda() {
        ClassLoader loader = Kernels.class.getClassLoader();
        return loader != null && loader.getResource(MANIFEST) != null;
    }
}
