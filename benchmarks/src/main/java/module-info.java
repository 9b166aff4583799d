import org.jspecify.annotations.NullMarked;

/// Benchmarks over the other modules: JMH suites, a table for GPUs, and peers to run beside them.
@NullMarked
module dev.saccade.bench {
    requires dev.saccade.rl;
    requires jcublas;
    requires jcuda;
    requires jcudnn;
    requires jmh.core;
    requires tools.jackson.databind;

    exports dev.saccade.bench;
    exports dev.saccade.bench.cuda;
    exports dev.saccade.bench.peer;
}
