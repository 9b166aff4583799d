import org.jspecify.annotations.NullMarked;

/// JMH suites over the other modules.
@NullMarked
module dev.saccade.bench {
    requires dev.saccade.rl;
    requires jmh.core;

    exports dev.saccade.bench;
}
