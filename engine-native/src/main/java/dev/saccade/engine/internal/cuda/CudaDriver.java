package dev.saccade.engine.internal.cuda;

import java.lang.foreign.MemorySegment;

/// The functions of the CUDA driver that the engine uses, under their own names and with the
/// meaning that the driver's manual gives them. Each returns the driver's result code.
///
/// Opaque handles and device addresses are `long`; host memory is a [MemorySegment], so that a
/// device address can't stand where host memory is meant. A parameter named after what the call
/// gives back is native memory that the result is written to.
///
/// A binding that has no such function throws an [UnsupportedOperationException] with the reason.
public interface CudaDriver {
    // Constants of cuda.h, without CUDA_ERROR_ or CU_; a test compares them with the header.
    int SUCCESS = 0;
    int INVALID_VALUE = 1;
    int OUT_OF_MEMORY = 2;
    int DEINITIALIZED = 4;
    int STUB_LIBRARY = 34;
    int DEVICE_UNAVAILABLE = 46;
    int NO_DEVICE = 100;
    int INVALID_DEVICE = 101;
    int INVALID_IMAGE = 200;
    int NO_BINARY_FOR_GPU = 209;
    int ECC_UNCORRECTABLE = 214;
    int INVALID_PTX = 218;
    int NVLINK_UNCORRECTABLE = 220;
    int JIT_COMPILER_NOT_FOUND = 221;
    int UNSUPPORTED_PTX_VERSION = 222;
    int JIT_COMPILATION_DISABLED = 223;
    int CONTAINED = 226;
    int INVALID_SOURCE = 300;
    int NOT_FOUND = 500;
    int NOT_READY = 600;
    int ILLEGAL_ADDRESS = 700;
    int LAUNCH_TIMEOUT = 702;
    int CONTEXT_IS_DESTROYED = 709;
    int ASSERT = 710;
    int HARDWARE_STACK_ERROR = 714;
    int ILLEGAL_INSTRUCTION = 715;
    int MISALIGNED_ADDRESS = 716;
    int INVALID_ADDRESS_SPACE = 717;
    int INVALID_PC = 718;
    int LAUNCH_FAILED = 719;
    int SYSTEM_NOT_READY = 802;
    int SYSTEM_DRIVER_MISMATCH = 803;
    int COMPAT_NOT_SUPPORTED_ON_DEVICE = 804;
    int GRAPH_EXEC_UPDATE_FAILURE = 910;

    int DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
    int DEVICE_ATTRIBUTE_COMPUTE_MODE = 20;
    int DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38;
    int DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75;
    int DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;
    int DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;

    int COMPUTEMODE_PROHIBITED = 2;

    int FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1;
    int FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3;
    int FUNC_ATTRIBUTE_NUM_REGS = 4;
    int FUNC_ATTRIBUTE_PTX_VERSION = 5;
    int FUNC_ATTRIBUTE_BINARY_VERSION = 6;
    int FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
    int FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14;

    int STREAM_NON_BLOCKING = 1;
    int EVENT_DISABLE_TIMING = 2;
    int MEMHOSTALLOC_PORTABLE = 1;
    int MEMHOSTALLOC_DEVICEMAP = 2;
    int STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;
    int STREAM_CAPTURE_MODE_RELAXED = 2;

    /// What a user calls this binding: `ffm` or `jcuda`.
    String binding();

    /// Whether [#cuFuncGetParamInfo] exists.
    boolean describesParameters();

    /// The driver's name of a result code, `CUDA_ERROR_ILLEGAL_ADDRESS`.
    String errorName(int code);

    /// The driver's words for a result code.
    String errorText(int code);

    int cuInit(int flags);

    int cuDriverGetVersion(MemorySegment version);

    int cuDeviceGetCount(MemorySegment count);

    int cuDeviceGet(MemorySegment device, int ordinal);

    int cuDeviceGetName(MemorySegment name, int device);

    int cuDeviceTotalMem(MemorySegment bytes, int device);

    int cuDeviceGetAttribute(MemorySegment value, int attribute, int device);

    int cuDevicePrimaryCtxRetain(MemorySegment context, int device);

    int cuDevicePrimaryCtxRelease(int device);

    int cuCtxSetCurrent(long context);

    int cuMemGetInfo(MemorySegment free, MemorySegment total);

    int cuMemAlloc(MemorySegment address, long bytes);

    int cuMemFree(long address);

    int cuMemHostAlloc(MemorySegment address, long bytes, int flags);

    int cuMemFreeHost(MemorySegment memory);

    int cuMemHostGetDevicePointer(MemorySegment address, MemorySegment memory);

    int cuMemcpyHtoDAsync(long target, MemorySegment source, long bytes, long stream);

    int cuMemcpyDtoHAsync(MemorySegment target, long source, long bytes, long stream);

    int cuMemcpyDtoDAsync(long target, long source, long bytes, long stream);

    int cuMemsetD8Async(long target, byte value, long bytes, long stream);

    int cuStreamCreate(MemorySegment stream, int flags);

    int cuStreamDestroy(long stream);

    int cuStreamSynchronize(long stream);

    int cuStreamQuery(long stream);

    int cuEventCreate(MemorySegment event, int flags);

    int cuEventDestroy(long event);

    int cuEventRecord(long event, long stream);

    int cuEventSynchronize(long event);

    int cuEventQuery(long event);

    int cuEventElapsedTime(MemorySegment milliseconds, long start, long end);

    int cuStreamBeginCapture(long stream, int mode);

    int cuStreamEndCapture(long stream, MemorySegment graph);

    /// Exchanges this thread's capture mode.
    ///
    /// @param mode read, and replaced by the mode before
    int cuThreadExchangeStreamCaptureMode(MemorySegment mode);

    /// Counts the nodes of a graph.
    int cuGraphGetNodes(long graph, MemorySegment count);

    int cuGraphInstantiate(MemorySegment executable, long graph);

    int cuGraphExecUpdate(long executable, long graph, MemorySegment resultInfo);

    int cuGraphLaunch(long executable, long stream);

    int cuGraphExecDestroy(long executable);

    int cuGraphDestroy(long graph);

    /// Loads code.
    ///
    /// @param image a fatbin, a cubin, or PTX with a zero byte at its end
    int cuLibraryLoadData(MemorySegment library, MemorySegment image);

    int cuLibraryUnload(long library);

    int cuLibraryGetKernel(MemorySegment kernel, long library, String name);

    int cuKernelGetFunction(MemorySegment function, long kernel);

    /// Loads a function's code now; with lazy loading it would otherwise come at the first launch.
    int cuFuncLoad(long function);

    int cuFuncGetAttribute(MemorySegment value, int attribute, long function);

    int cuFuncSetAttribute(long function, int attribute, int value);

    int cuFuncGetParamInfo(long function, long index, MemorySegment offset, MemorySegment size);

    int cuOccupancyMaxActiveBlocksPerMultiprocessor(
            MemorySegment blocks, long function, int threads, long sharedBytes);

    int cuOccupancyMaxActiveClusters(MemorySegment clusters, long function, LaunchConfig config);

    /// Launches a kernel.
    ///
    /// @param parameters an array of pointers, one to each parameter's value
    int cuLaunchKernelEx(LaunchConfig config, long function, MemorySegment parameters);

    /// The integers are those of the header's enumerations; interleave and fill are 0.
    int cuTensorMapEncodeTiled(
            MemorySegment map,
            int dataType,
            int rank,
            long address,
            MemorySegment sizes,
            MemorySegment strides,
            MemorySegment box,
            MemorySegment elementStrides,
            int swizzle,
            int promotion);
}
