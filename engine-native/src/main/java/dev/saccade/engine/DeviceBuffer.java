package dev.saccade.engine;

/// Bytes on a device, owned by whoever allocated them. [#close()] gives them back to the device's
/// pool; closing twice is harmless, using a closed buffer is an error.
public final class DeviceBuffer implements AutoCloseable {
    private final Device device;
    private final Block block;
    private final long bytes;
    private boolean open = true;

    DeviceBuffer(Device device, Block block, long bytes) {
        this.device = device;
        this.block = block;
        this.bytes = bytes;
    }

    /// The device whose memory this is.
    public Device device() {
        return device;
    }

    /// The size asked for, in bytes.
    public long bytes() {
        return bytes;
    }

    /// The size that the pool set aside, in bytes; at least [#bytes()].
    long capacity() {
        return block.capacity();
    }

    /// The first byte's address in the device's own address space.
    ///
    /// @throws IllegalStateException after [#close()]
    public long address() {
        if (!open) {
            throw new IllegalStateException("the buffer of " + bytes + " bytes is closed");
        }
        return block.address();
    }

    /// The address of byte `offset`, once it is clear that `length` bytes from there on are this
    /// buffer's and on `user`.
    long address(Device user, long offset, long length) {
        if (device != user) {
            throw new IllegalArgumentException(this + " is not on this device");
        }
        if (offset < 0 || length < 0 || length > bytes - offset) {
            throw new IndexOutOfBoundsException(
                    "bytes " + offset + " to " + (offset + length) + " of " + this);
        }
        return address() + offset;
    }

    /// Whether the buffer still owns its memory.
    public boolean isOpen() {
        return open;
    }

    @Override
    public void close() {
        if (open) {
            open = false;
            switch (device) {
                case HostDevice host -> host.release(block);
                case CudaDevice cuda -> cuda.release(block);
            }
        }
    }

    @Override
    public String toString() {
        return "DeviceBuffer["
                + device.name()
                + ", "
                + bytes
                + " bytes"
                + (open ? "]" : ", closed]");
    }
}
