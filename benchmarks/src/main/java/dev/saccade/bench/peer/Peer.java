package dev.saccade.bench.peer;

import org.jspecify.annotations.Nullable;

/// A library that computes what some of the kernels compute, on the same device memory and in the
/// same stream, to be compared with them.
public interface Peer extends AutoCloseable {

    /// The column's name, `cublaslt`.
    String name();

    /// Why it can't be used on this machine; null when it can.
    @Nullable String refusal();

    /// What it is and where it was found, `cuBLASLt 13.1.1, /opt/.../libcublasLt.so.13`; empty when
    /// it is refused.
    String version();

    /// Makes ready for work of these extents; choosing an algorithm may run it a few times on the
    /// given operands.
    ///
    /// @param addresses the operands, in the order that the work documents
    /// @throws UnsupportedOperationException with the reason, when it has no such operation
    Call prepare(Work work, long[] addresses);

    @Override
    void close();

    /// Work of fixed extents, ready to run.
    interface Call extends AutoCloseable {

        /// Queues it.
        ///
        /// @param addresses the operands, in the order that the work documents
        void run(long[] addresses);

        @Override
        void close();
    }

    /// A peer that can't be used here.
    record Refused(String name, String refusal) implements Peer {

        @Override
        public String version() {
            return "";
        }

        @Override
        public Call prepare(Work work, long[] addresses) {
            throw new UnsupportedOperationException(refusal);
        }

        @Override
        public void close() {}
    }
}
