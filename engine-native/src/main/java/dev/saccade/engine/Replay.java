package dev.saccade.engine;

/// Work that was recorded once and can run again without being issued again: a CUDA graph, or on
/// the host just the work itself. It reads and writes the same memory each time. See
/// [Device#record(Runnable)].
public interface Replay extends AutoCloseable {

    /// Submits the work once more, in order with what was submitted before.
    void run();

    /// Gives back what the recording holds. The work may not run again.
    @Override
    void close();
}
