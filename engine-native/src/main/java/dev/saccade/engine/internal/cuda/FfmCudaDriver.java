package dev.saccade.engine.internal.cuda;

import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Objects;

/// The driver through the Foreign Function & Memory API: one downcall for each function, written by
/// hand from cuda.h. Signatures are checked by a test against a library that a C compiler made with
/// that header.
///
/// No call is linked as `critical`: any of them may wait (a launch does when the queue is full),
/// and a thread in a critical call holds up the garbage collector.
final class FfmCudaDriver implements CudaDriver {
    private static final MemorySegment NULL = MemorySegment.NULL;

    FfmCudaDriver() {}

    @Override
    public String binding() {
        return "ffm";
    }

    @Override
    public boolean describesParameters() {
        return true;
    }

    @Override
    public String errorName(int code) {
        return text(Functions.cuGetErrorName, code, "error " + code);
    }

    @Override
    public String errorText(int code) {
        return text(Functions.cuGetErrorString, code, "an error that this driver has no words for");
    }

    private static String text(MethodHandle function, int code, String otherwise) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            int result = (int) function.invokeExact(code, out);
            MemorySegment text = out.get(C_STRING, 0);
            return result == SUCCESS && text.address() != 0 ? text.getString(0) : otherwise;
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDeviceGetName(MemorySegment name, int device) {
        try {
            return (int)
                    Functions.cuDeviceGetName.invokeExact(
                            name, Math.toIntExact(name.byteSize()), device);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemHostGetDevicePointer(MemorySegment address, MemorySegment memory) {
        try {
            return (int) Functions.cuMemHostGetDevicePointer.invokeExact(address, memory, 0);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphGetNodes(long graph, MemorySegment count) {
        try {
            return (int) Functions.cuGraphGetNodes.invokeExact(graph, NULL, count);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphInstantiate(MemorySegment executable, long graph) {
        try {
            return (int) Functions.cuGraphInstantiate.invokeExact(executable, graph, 0L);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuLibraryLoadData(MemorySegment library, MemorySegment image) {
        try {
            return (int)
                    Functions.cuLibraryLoadData.invokeExact(
                            library, image, NULL, NULL, 0, NULL, NULL, 0);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuLibraryGetKernel(MemorySegment kernel, long library, String name) {
        try (Arena arena = Arena.ofConfined()) {
            return (int)
                    Functions.cuLibraryGetKernel.invokeExact(
                            kernel, library, arena.allocateFrom(name));
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuOccupancyMaxActiveClusters(
            MemorySegment clusters, long function, LaunchConfig config) {
        try {
            return (int)
                    Functions.cuOccupancyMaxActiveClusters.invokeExact(
                            clusters, function, config.struct());
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuLaunchKernelEx(LaunchConfig config, long function, MemorySegment parameters) {
        try {
            return (int)
                    Functions.cuLaunchKernelEx.invokeExact(
                            config.struct(), function, parameters, NULL);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuTensorMapEncodeTiled(
            MemorySegment map,
            int dataType,
            int rank,
            long address,
            MemorySegment sizes,
            MemorySegment strides,
            MemorySegment box,
            MemorySegment elementStrides,
            int swizzle,
            int promotion) {
        try {
            return (int)
                    Functions.cuTensorMapEncodeTiled.invokeExact(
                            map,
                            dataType,
                            rank,
                            address,
                            sizes,
                            strides,
                            box,
                            elementStrides,
                            0,
                            swizzle,
                            promotion,
                            0);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuInit(int flags) {
        try {
            return (int) Functions.cuInit.invokeExact(flags);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDriverGetVersion(MemorySegment version) {
        try {
            return (int) Functions.cuDriverGetVersion.invokeExact(version);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDeviceGetCount(MemorySegment count) {
        try {
            return (int) Functions.cuDeviceGetCount.invokeExact(count);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDeviceGet(MemorySegment device, int ordinal) {
        try {
            return (int) Functions.cuDeviceGet.invokeExact(device, ordinal);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDeviceTotalMem(MemorySegment bytes, int device) {
        try {
            return (int) Functions.cuDeviceTotalMem.invokeExact(bytes, device);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDeviceGetAttribute(MemorySegment value, int attribute, int device) {
        try {
            return (int) Functions.cuDeviceGetAttribute.invokeExact(value, attribute, device);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDevicePrimaryCtxRetain(MemorySegment context, int device) {
        try {
            return (int) Functions.cuDevicePrimaryCtxRetain.invokeExact(context, device);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuDevicePrimaryCtxRelease(int device) {
        try {
            return (int) Functions.cuDevicePrimaryCtxRelease.invokeExact(device);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuCtxSetCurrent(long context) {
        try {
            return (int) Functions.cuCtxSetCurrent.invokeExact(context);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemGetInfo(MemorySegment free, MemorySegment total) {
        try {
            return (int) Functions.cuMemGetInfo.invokeExact(free, total);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemAlloc(MemorySegment address, long bytes) {
        try {
            return (int) Functions.cuMemAlloc.invokeExact(address, bytes);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemFree(long address) {
        try {
            return (int) Functions.cuMemFree.invokeExact(address);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemHostAlloc(MemorySegment address, long bytes, int flags) {
        try {
            return (int) Functions.cuMemHostAlloc.invokeExact(address, bytes, flags);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemFreeHost(MemorySegment memory) {
        try {
            return (int) Functions.cuMemFreeHost.invokeExact(memory);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemcpyHtoDAsync(long target, MemorySegment source, long bytes, long stream) {
        try {
            return (int) Functions.cuMemcpyHtoDAsync.invokeExact(target, source, bytes, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemcpyDtoHAsync(MemorySegment target, long source, long bytes, long stream) {
        try {
            return (int) Functions.cuMemcpyDtoHAsync.invokeExact(target, source, bytes, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemcpyDtoDAsync(long target, long source, long bytes, long stream) {
        try {
            return (int) Functions.cuMemcpyDtoDAsync.invokeExact(target, source, bytes, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuMemsetD8Async(long target, byte value, long bytes, long stream) {
        try {
            return (int) Functions.cuMemsetD8Async.invokeExact(target, value, bytes, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamCreate(MemorySegment stream, int flags) {
        try {
            return (int) Functions.cuStreamCreate.invokeExact(stream, flags);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamDestroy(long stream) {
        try {
            return (int) Functions.cuStreamDestroy.invokeExact(stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamSynchronize(long stream) {
        try {
            return (int) Functions.cuStreamSynchronize.invokeExact(stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamQuery(long stream) {
        try {
            return (int) Functions.cuStreamQuery.invokeExact(stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventCreate(MemorySegment event, int flags) {
        try {
            return (int) Functions.cuEventCreate.invokeExact(event, flags);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventDestroy(long event) {
        try {
            return (int) Functions.cuEventDestroy.invokeExact(event);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventRecord(long event, long stream) {
        try {
            return (int) Functions.cuEventRecord.invokeExact(event, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventSynchronize(long event) {
        try {
            return (int) Functions.cuEventSynchronize.invokeExact(event);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventQuery(long event) {
        try {
            return (int) Functions.cuEventQuery.invokeExact(event);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuEventElapsedTime(MemorySegment milliseconds, long start, long end) {
        try {
            return (int) Functions.cuEventElapsedTime.invokeExact(milliseconds, start, end);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamBeginCapture(long stream, int mode) {
        try {
            return (int) Functions.cuStreamBeginCapture.invokeExact(stream, mode);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuStreamEndCapture(long stream, MemorySegment graph) {
        try {
            return (int) Functions.cuStreamEndCapture.invokeExact(stream, graph);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuThreadExchangeStreamCaptureMode(MemorySegment mode) {
        try {
            return (int) Functions.cuThreadExchangeStreamCaptureMode.invokeExact(mode);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphExecUpdate(long executable, long graph, MemorySegment resultInfo) {
        try {
            return (int) Functions.cuGraphExecUpdate.invokeExact(executable, graph, resultInfo);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphLaunch(long executable, long stream) {
        try {
            return (int) Functions.cuGraphLaunch.invokeExact(executable, stream);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphExecDestroy(long executable) {
        try {
            return (int) Functions.cuGraphExecDestroy.invokeExact(executable);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuGraphDestroy(long graph) {
        try {
            return (int) Functions.cuGraphDestroy.invokeExact(graph);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuLibraryUnload(long library) {
        try {
            return (int) Functions.cuLibraryUnload.invokeExact(library);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuKernelGetFunction(MemorySegment function, long kernel) {
        try {
            return (int) Functions.cuKernelGetFunction.invokeExact(function, kernel);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuFuncLoad(long function) {
        try {
            return (int) Functions.cuFuncLoad.invokeExact(function);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuFuncGetAttribute(MemorySegment value, int attribute, long function) {
        try {
            return (int) Functions.cuFuncGetAttribute.invokeExact(value, attribute, function);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuFuncSetAttribute(long function, int attribute, int value) {
        try {
            return (int) Functions.cuFuncSetAttribute.invokeExact(function, attribute, value);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuFuncGetParamInfo(
            long function, long index, MemorySegment offset, MemorySegment size) {
        try {
            return (int) Functions.cuFuncGetParamInfo.invokeExact(function, index, offset, size);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    @Override
    public int cuOccupancyMaxActiveBlocksPerMultiprocessor(
            MemorySegment blocks, long function, int threads, long sharedBytes) {
        try {
            return (int)
                    Functions.cuOccupancyMaxActiveBlocksPerMultiprocessor.invokeExact(
                            blocks, function, threads, sharedBytes);
        } catch (Throwable t) {
            throw broken(t);
        }
    }

    /// A downcall itself throws only when its Java side is wrong.
    private static AssertionError broken(Throwable cause) {
        return new AssertionError(cause);
    }

    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;
    private static final ValueLayout.OfByte BYTE = ValueLayout.JAVA_BYTE;
    private static final AddressLayout POINTER = ValueLayout.ADDRESS;

    /// A `char*` that can be read up to its zero byte.
    private static final AddressLayout C_STRING =
            ValueLayout.ADDRESS.withTargetLayout(
                    MemoryLayout.sequenceLayout(Long.MAX_VALUE, ValueLayout.JAVA_BYTE));

    /// The entry points, static and final so that the compiler sees through them; initialised at
    /// the first call of a driver that [DriverLibrary#find] has found fit, never on a machine
    /// without.
    @SuppressWarnings("ConstantField") // they are called what cuda.h calls them
    private static final class Functions {
        private static final Linker LINKER = Linker.nativeLinker();
        private static final SymbolLookup SYMBOLS =
                Objects.requireNonNull(DriverLibrary.find().symbols());
        private static final MethodHandle GET_PROC_ADDRESS =
                LINKER.downcallHandle(
                        SYMBOLS.findOrThrow("cuGetProcAddress_v2"),
                        FunctionDescriptor.of(INT, POINTER, POINTER, INT, LONG, POINTER));
        static final MethodHandle cuCtxSetCurrent = link("cuCtxSetCurrent", LONG);
        static final MethodHandle cuDeviceGet = link("cuDeviceGet", POINTER, INT);
        static final MethodHandle cuDeviceGetAttribute =
                link("cuDeviceGetAttribute", POINTER, INT, INT);
        static final MethodHandle cuDeviceGetCount = link("cuDeviceGetCount", POINTER);
        static final MethodHandle cuDeviceGetName = link("cuDeviceGetName", POINTER, INT, INT);
        static final MethodHandle cuDevicePrimaryCtxRelease =
                link("cuDevicePrimaryCtxRelease", INT);
        static final MethodHandle cuDevicePrimaryCtxRetain =
                link("cuDevicePrimaryCtxRetain", POINTER, INT);
        static final MethodHandle cuDeviceTotalMem = link("cuDeviceTotalMem", POINTER, INT);
        static final MethodHandle cuDriverGetVersion = link("cuDriverGetVersion", POINTER);
        static final MethodHandle cuEventCreate = link("cuEventCreate", POINTER, INT);
        static final MethodHandle cuEventDestroy = link("cuEventDestroy", LONG);
        static final MethodHandle cuEventElapsedTime =
                link("cuEventElapsedTime", POINTER, LONG, LONG);
        static final MethodHandle cuEventQuery = link("cuEventQuery", LONG);
        static final MethodHandle cuEventRecord = link("cuEventRecord", LONG, LONG);
        static final MethodHandle cuEventSynchronize = link("cuEventSynchronize", LONG);
        static final MethodHandle cuFuncGetAttribute =
                link("cuFuncGetAttribute", POINTER, INT, LONG);
        static final MethodHandle cuFuncGetParamInfo =
                link("cuFuncGetParamInfo", LONG, LONG, POINTER, POINTER);
        static final MethodHandle cuFuncLoad = link("cuFuncLoad", LONG);
        static final MethodHandle cuFuncSetAttribute = link("cuFuncSetAttribute", LONG, INT, INT);
        static final MethodHandle cuGetErrorName = link("cuGetErrorName", INT, POINTER);
        static final MethodHandle cuGetErrorString = link("cuGetErrorString", INT, POINTER);
        static final MethodHandle cuGraphDestroy = link("cuGraphDestroy", LONG);
        static final MethodHandle cuGraphExecDestroy = link("cuGraphExecDestroy", LONG);
        static final MethodHandle cuGraphExecUpdate =
                link("cuGraphExecUpdate", LONG, LONG, POINTER);
        static final MethodHandle cuGraphGetNodes = link("cuGraphGetNodes", LONG, POINTER, POINTER);
        static final MethodHandle cuGraphInstantiate =
                link("cuGraphInstantiate", POINTER, LONG, LONG);
        static final MethodHandle cuGraphLaunch = link("cuGraphLaunch", LONG, LONG);
        static final MethodHandle cuInit = link("cuInit", INT);
        static final MethodHandle cuKernelGetFunction = link("cuKernelGetFunction", POINTER, LONG);
        static final MethodHandle cuLaunchKernelEx =
                link("cuLaunchKernelEx", POINTER, LONG, POINTER, POINTER);
        static final MethodHandle cuLibraryGetKernel =
                link("cuLibraryGetKernel", POINTER, LONG, POINTER);
        static final MethodHandle cuLibraryLoadData =
                link(
                        "cuLibraryLoadData",
                        POINTER,
                        POINTER,
                        POINTER,
                        POINTER,
                        INT,
                        POINTER,
                        POINTER,
                        INT);
        static final MethodHandle cuLibraryUnload = link("cuLibraryUnload", LONG);
        static final MethodHandle cuMemAlloc = link("cuMemAlloc", POINTER, LONG);
        static final MethodHandle cuMemFree = link("cuMemFree", LONG);
        static final MethodHandle cuMemFreeHost = link("cuMemFreeHost", POINTER);
        static final MethodHandle cuMemGetInfo = link("cuMemGetInfo", POINTER, POINTER);
        static final MethodHandle cuMemHostAlloc = link("cuMemHostAlloc", POINTER, LONG, INT);
        static final MethodHandle cuMemHostGetDevicePointer =
                link("cuMemHostGetDevicePointer", POINTER, POINTER, INT);
        static final MethodHandle cuMemcpyDtoDAsync =
                link("cuMemcpyDtoDAsync", LONG, LONG, LONG, LONG);
        static final MethodHandle cuMemcpyDtoHAsync =
                link("cuMemcpyDtoHAsync", POINTER, LONG, LONG, LONG);
        static final MethodHandle cuMemcpyHtoDAsync =
                link("cuMemcpyHtoDAsync", LONG, POINTER, LONG, LONG);
        static final MethodHandle cuMemsetD8Async = link("cuMemsetD8Async", LONG, BYTE, LONG, LONG);
        static final MethodHandle cuOccupancyMaxActiveBlocksPerMultiprocessor =
                link("cuOccupancyMaxActiveBlocksPerMultiprocessor", POINTER, LONG, INT, LONG);
        static final MethodHandle cuOccupancyMaxActiveClusters =
                link("cuOccupancyMaxActiveClusters", POINTER, LONG, POINTER);
        static final MethodHandle cuStreamBeginCapture = link("cuStreamBeginCapture", LONG, INT);
        static final MethodHandle cuStreamCreate = link("cuStreamCreate", POINTER, INT);
        static final MethodHandle cuStreamDestroy = link("cuStreamDestroy", LONG);
        static final MethodHandle cuStreamEndCapture = link("cuStreamEndCapture", LONG, POINTER);
        static final MethodHandle cuStreamQuery = link("cuStreamQuery", LONG);
        static final MethodHandle cuStreamSynchronize = link("cuStreamSynchronize", LONG);
        static final MethodHandle cuTensorMapEncodeTiled =
                link(
                        "cuTensorMapEncodeTiled",
                        POINTER,
                        INT,
                        INT,
                        LONG,
                        POINTER,
                        POINTER,
                        POINTER,
                        POINTER,
                        INT,
                        INT,
                        INT,
                        INT);
        static final MethodHandle cuThreadExchangeStreamCaptureMode =
                link("cuThreadExchangeStreamCaptureMode", POINTER);

        /// Asks the driver itself for a function by its plain name: it answers with the version of
        /// the function that belongs to the CUDA version asked for. A plain symbol `cuMemAlloc` is
        /// that of CUDA 2, with 32-bit sizes.
        private static MethodHandle link(String name, MemoryLayout... parameters) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment entry = arena.allocate(POINTER);
                MemorySegment status = arena.allocate(INT);
                int code =
                        (int)
                                GET_PROC_ADDRESS.invokeExact(
                                        arena.allocateFrom(name),
                                        entry,
                                        DriverLibrary.NEEDED_VERSION,
                                        0L,
                                        status);
                MemorySegment address = entry.get(POINTER, 0);
                if (code != SUCCESS || address.address() == 0) {
                    throw new UnsatisfiedLinkError(
                            "the driver has no %s of CUDA %s (result %d, status %d)"
                                    .formatted(
                                            name,
                                            DriverLibrary.text(DriverLibrary.NEEDED_VERSION),
                                            code,
                                            status.get(INT, 0)));
                }
                return LINKER.downcallHandle(address, FunctionDescriptor.of(INT, parameters));
            } catch (LinkageError e) {
                throw e;
            } catch (Throwable t) {
                throw broken(t);
            }
        }
    }
}
