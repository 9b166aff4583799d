package dev.saccade.engine;

import java.lang.foreign.MemorySegment;

/// A processor with its own memory, on which buffers live and kernels run.
///
/// Work on a device is ordered: what is submitted later sees the results of what was submitted
/// earlier. On the host every call has finished when it returns; on other devices [#synchronize()]
/// waits. Buffers belong to the device that made them and are freed by their owner, never by the
/// garbage collector.
public sealed interface Device extends AutoCloseable permits HostDevice, CudaDevice {

    /// The name a user writes after `--device`: `cpu`, `cuda:0`.
    String name();

    /// Allocates `bytes` of uninitialised device memory, aligned to 64 bytes.
    ///
    /// @throws OutOfDeviceMemoryException when the device cannot give that much, saying what is in
    ///   use
    DeviceBuffer allocate(long bytes);

    /// Copies all of `source` (host memory) into `target` from byte `targetOffset` on. When this
    /// returns, `source` may be changed, unless it lies in a [PinnedBuffer].
    void upload(MemorySegment source, DeviceBuffer target, long targetOffset);

    /// Fills `bytes` bytes of `target` from byte `targetOffset` on with what `source` gives, read
    /// by several threads. When this returns or throws, `source` is not read any more; after an
    /// exception of `source`, which is rethrown, the contents of that range are undefined.
    void upload(UploadSource source, long bytes, DeviceBuffer target, long targetOffset);

    /// Copies bytes from `sourceOffset` of `source` on into all of `target` (host memory); waits
    /// for the device first.
    void download(DeviceBuffer source, long sourceOffset, MemorySegment target);

    /// Copies `bytes` within this device. The ranges may not overlap.
    void copy(
            DeviceBuffer source,
            long sourceOffset,
            DeviceBuffer target,
            long targetOffset,
            long bytes);

    /// Sets `bytes` bytes from `offset` on to `value`.
    void fill(DeviceBuffer target, long offset, long bytes, byte value);

    /// Records the device work that `work` submits, so that it can run again at once: on CUDA as a
    /// graph, on the host by calling `work` again. Nothing has run when this returns. `work` may
    /// allocate and free; on CUDA the memory it used stays set aside for the recording until that
    /// closes, so nothing else lives there. It may not upload, download or synchronise, and what it
    /// does on the host happens once, at recording.
    Replay record(Runnable work);

    /// Waits until all submitted work has finished.
    void synchronize();

    /// What this device's memory pool holds now.
    MemoryStatistics memory();

    @Override
    void close();
}
