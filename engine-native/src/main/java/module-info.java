import org.jspecify.annotations.NullMarked;

/// The machine: devices, memory, workers. No mathematics.
@NullMarked
module dev.saccade.engine {
    requires static transitive org.jspecify;

    exports dev.saccade.engine;
}
