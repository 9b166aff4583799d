package dev.saccade.engine;

/// Bytes on a device, owned by whoever allocated them. [#close()] gives them back to the device's
/// pool; closing twice is harmless, using a closed buffer is an error.
public final class DeviceBuffer implements AutoCloseable {
    private final Device device;
    private final long address;
    private final long bytes;
    private final long capacity;
    private boolean open = true;

    DeviceBuffer(Device device, long address, long bytes, long capacity) {
        this.device = device;
        this.address = address;
        this.bytes = bytes;
        this.capacity = capacity;
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
        return capacity;
    }

    /// The first byte's address in the device's own address space.
    ///
    /// @throws IllegalStateException after [#close()]
    public long address() {
        if (!open) {
            throw new IllegalStateException("the buffer of " + bytes + " bytes is closed");
        }
        return address;
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
                case HostDevice host -> host.release(address, capacity);
                case CudaDevice cuda -> cuda.release(this);
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
