import org.jspecify.annotations.NullMarked;

/// The machine: devices, memory, workers. No mathematics.
@NullMarked
module dev.saccade.engine {
    requires static transitive org.jspecify;
    requires static jcuda;

    exports dev.saccade.engine;
}
