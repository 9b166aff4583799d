package dev.saccade.engine;

/// A piece of memory that a pool got from its device. The pool hands it out whole.
final class Block {
    private final long address;
    private final long capacity;

    /// Whether it is handed out.
    boolean live;

    /// How many open recordings it is set aside for.
    int reservations;

    Block(long address, long capacity) {
        this.address = address;
        this.capacity = capacity;
    }

    long address() {
        return address;
    }

    long capacity() {
        return capacity;
    }
}
