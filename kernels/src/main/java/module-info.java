import org.jspecify.annotations.NullMarked;

/// The mathematics on raw buffers: one package per operation, each with its contract, its CPU
/// implementation and its CUDA launcher.
@NullMarked
module dev.saccade.kernels {
    requires transitive dev.saccade.engine;
    requires jdk.incubator.vector;

    exports dev.saccade.kernels;
    exports dev.saccade.kernels.activation;
    exports dev.saccade.kernels.advance;
    exports dev.saccade.kernels.attention;
    exports dev.saccade.kernels.connector;
    exports dev.saccade.kernels.elementwise;
    exports dev.saccade.kernels.embedding;
    exports dev.saccade.kernels.entropy;
    exports dev.saccade.kernels.gemm;
    exports dev.saccade.kernels.head;
    exports dev.saccade.kernels.loss;
    exports dev.saccade.kernels.norm;
    exports dev.saccade.kernels.optimizer;
    exports dev.saccade.kernels.patch;
    exports dev.saccade.kernels.position;
    exports dev.saccade.kernels.sampling;
}
