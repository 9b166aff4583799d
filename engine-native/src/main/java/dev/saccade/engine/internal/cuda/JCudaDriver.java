package dev.saccade.engine.internal.cuda;

import static jcuda.driver.JCudaDriver.setExceptionsEnabled;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import jcuda.NativePointerObject;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUmodule;
import jcuda.driver.CUstream;
import org.jspecify.annotations.NullUnmarked;

/// The driver through JCuda 12.6 (JNI), as far as that goes: a second opinion on the first binding,
/// and a comparison of speed.
///
/// JCuda hides native handles in objects, so that the handles here are numbers of its objects.
/// Modules and cuLaunchKernel stand in for libraries and cuLaunchKernelEx, which it lacks, like
/// launch attributes, tensor maps and the sizes of parameters.
@NullUnmarked // JCuda has no annotations
final class JCudaDriver implements CudaDriver {
    private final Map<Long, NativePointerObject> objects = new ConcurrentHashMap<>();
    private final Map<Integer, CUdevice> devices = new ConcurrentHashMap<>();
    private final AtomicLong handles = new AtomicLong();

    /// @throws LinkageError when JCuda or its native library is not there
    JCudaDriver() {
        setExceptionsEnabled(false); // results are codes, as elsewhere
    }

    /// Memory by its address.
    private static final class Memory extends Pointer {
        Memory() {}

        Memory(MemorySegment segment) {
            super(segment.address());
        }

        long address() {
            return getNativePointer() + getByteOffset();
        }
    }

    /// A device address that JCuda gives out.
    private static final class DeviceMemory extends CUdeviceptr {
        long address() {
            return getNativePointer() + getByteOffset();
        }
    }

    private static CUdeviceptr device(long address) {
        return new CUdeviceptr().withByteOffset(address);
    }

    private <T extends NativePointerObject> T object(long handle, Class<T> type) {
        return handle == 0 ? null : type.cast(objects.get(handle));
    }

    private CUstream stream(long handle) {
        return object(handle, CUstream.class);
    }

    private CUevent event(long handle) {
        return object(handle, CUevent.class);
    }

    private CUfunction function(long handle) {
        return object(handle, CUfunction.class);
    }

    /// Gives a handle to the object that a call has filled in.
    private int give(int code, NativePointerObject object, MemorySegment out) {
        long handle = 0;
        if (code == SUCCESS) {
            handle = handles.incrementAndGet();
            objects.put(handle, object);
        }
        out.set(ValueLayout.JAVA_LONG, 0, handle);
        return code;
    }

    private static int give(int code, int[] value, MemorySegment out) {
        out.set(ValueLayout.JAVA_INT, 0, value[0]);
        return code;
    }

    private static int give(int code, long[] value, MemorySegment out) {
        out.set(ValueLayout.JAVA_LONG, 0, value[0]);
        return code;
    }

    private static UnsupportedOperationException missing(String function) {
        return new UnsupportedOperationException(
                "JCuda 12.6 has no %s: use the other binding (-D%s=ffm)"
                        .formatted(function, CudaDrivers.PROPERTY));
    }

    @Override
    public String binding() {
        return "jcuda";
    }

    @Override
    public boolean describesParameters() {
        return false;
    }

    @Override
    public String errorName(int code) {
        String[] text = new String[1];
        int result = jcuda.driver.JCudaDriver.cuGetErrorName(code, text);
        return result == SUCCESS && text[0] != null ? text[0] : "error " + code;
    }

    @Override
    public String errorText(int code) {
        String[] text = new String[1];
        int result = jcuda.driver.JCudaDriver.cuGetErrorString(code, text);
        return result == SUCCESS && text[0] != null
                ? text[0]
                : "an error that this driver has no words for";
    }

    @Override
    public int cuInit(int flags) {
        return jcuda.driver.JCudaDriver.cuInit(flags);
    }

    @Override
    public int cuDriverGetVersion(MemorySegment version) {
        int[] value = new int[1];
        return give(jcuda.driver.JCudaDriver.cuDriverGetVersion(value), value, version);
    }

    @Override
    public int cuDeviceGetCount(MemorySegment count) {
        int[] value = new int[1];
        return give(jcuda.driver.JCudaDriver.cuDeviceGetCount(value), value, count);
    }

    @Override
    public int cuDeviceGet(MemorySegment device, int ordinal) {
        CUdevice found = new CUdevice();
        int code = jcuda.driver.JCudaDriver.cuDeviceGet(found, ordinal);
        devices.put(ordinal, found);
        device.set(ValueLayout.JAVA_INT, 0, ordinal);
        return code;
    }

    @Override
    public int cuDeviceGetName(MemorySegment name, int device) {
        byte[] text = new byte[Math.toIntExact(name.byteSize())];
        int code = jcuda.driver.JCudaDriver.cuDeviceGetName(text, text.length, devices.get(device));
        int length = 0;
        while (length < text.length - 1 && text[length] != 0) {
            length++;
        }
        name.setString(0, new String(text, 0, length, StandardCharsets.UTF_8));
        return code;
    }

    @Override
    public int cuDeviceTotalMem(MemorySegment bytes, int device) {
        long[] value = new long[1];
        return give(
                jcuda.driver.JCudaDriver.cuDeviceTotalMem(value, devices.get(device)),
                value,
                bytes);
    }

    @Override
    public int cuDeviceGetAttribute(MemorySegment value, int attribute, int device) {
        int[] result = new int[1];
        return give(
                jcuda.driver.JCudaDriver.cuDeviceGetAttribute(
                        result, attribute, devices.get(device)),
                result,
                value);
    }

    @Override
    public int cuDevicePrimaryCtxRetain(MemorySegment context, int device) {
        CUcontext object = new CUcontext();
        return give(
                jcuda.driver.JCudaDriver.cuDevicePrimaryCtxRetain(object, devices.get(device)),
                object,
                context);
    }

    @Override
    public int cuDevicePrimaryCtxRelease(int device) {
        return jcuda.driver.JCudaDriver.cuDevicePrimaryCtxRelease(devices.get(device));
    }

    @Override
    public int cuCtxSetCurrent(long context) {
        CUcontext object = context == 0 ? new CUcontext() : object(context, CUcontext.class);
        return jcuda.driver.JCudaDriver.cuCtxSetCurrent(object);
    }

    @Override
    public int cuMemGetInfo(MemorySegment free, MemorySegment total) {
        long[] freeBytes = new long[1];
        long[] totalBytes = new long[1];
        int code = jcuda.driver.JCudaDriver.cuMemGetInfo(freeBytes, totalBytes);
        give(code, totalBytes, total);
        return give(code, freeBytes, free);
    }

    @Override
    public int cuMemAlloc(MemorySegment address, long bytes) {
        DeviceMemory memory = new DeviceMemory();
        int code = jcuda.driver.JCudaDriver.cuMemAlloc(memory, bytes);
        address.set(ValueLayout.JAVA_LONG, 0, memory.address());
        return code;
    }

    @Override
    public int cuMemFree(long address) {
        return jcuda.driver.JCudaDriver.cuMemFree(device(address));
    }

    @Override
    public int cuMemHostAlloc(MemorySegment address, long bytes, int flags) {
        Memory memory = new Memory();
        int code = jcuda.driver.JCudaDriver.cuMemHostAlloc(memory, bytes, flags);
        address.set(ValueLayout.JAVA_LONG, 0, memory.address());
        return code;
    }

    @Override
    public int cuMemFreeHost(MemorySegment memory) {
        return jcuda.driver.JCudaDriver.cuMemFreeHost(new Memory(memory));
    }

    @Override
    public int cuMemHostGetDevicePointer(MemorySegment address, MemorySegment memory) {
        DeviceMemory device = new DeviceMemory();
        int code =
                jcuda.driver.JCudaDriver.cuMemHostGetDevicePointer(device, new Memory(memory), 0);
        address.set(ValueLayout.JAVA_LONG, 0, device.address());
        return code;
    }

    @Override
    public int cuMemcpyHtoDAsync(long target, MemorySegment source, long bytes, long stream) {
        return jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync(
                device(target), new Memory(source), bytes, stream(stream));
    }

    @Override
    public int cuMemcpyDtoHAsync(MemorySegment target, long source, long bytes, long stream) {
        return jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync(
                new Memory(target), device(source), bytes, stream(stream));
    }

    @Override
    public int cuMemcpyDtoDAsync(long target, long source, long bytes, long stream) {
        return jcuda.driver.JCudaDriver.cuMemcpyDtoDAsync(
                device(target), device(source), bytes, stream(stream));
    }

    @Override
    public int cuMemsetD8Async(long target, byte value, long bytes, long stream) {
        return jcuda.driver.JCudaDriver.cuMemsetD8Async(
                device(target), value, bytes, stream(stream));
    }

    @Override
    public int cuStreamCreate(MemorySegment stream, int flags) {
        CUstream object = new CUstream();
        return give(jcuda.driver.JCudaDriver.cuStreamCreate(object, flags), object, stream);
    }

    @Override
    public int cuStreamDestroy(long stream) {
        int code = jcuda.driver.JCudaDriver.cuStreamDestroy(stream(stream));
        objects.remove(stream);
        return code;
    }

    @Override
    public int cuStreamSynchronize(long stream) {
        return jcuda.driver.JCudaDriver.cuStreamSynchronize(stream(stream));
    }

    @Override
    public int cuStreamQuery(long stream) {
        return jcuda.driver.JCudaDriver.cuStreamQuery(stream(stream));
    }

    @Override
    public int cuEventCreate(MemorySegment event, int flags) {
        CUevent object = new CUevent();
        return give(jcuda.driver.JCudaDriver.cuEventCreate(object, flags), object, event);
    }

    @Override
    public int cuEventDestroy(long event) {
        int code = jcuda.driver.JCudaDriver.cuEventDestroy(event(event));
        objects.remove(event);
        return code;
    }

    @Override
    public int cuEventRecord(long event, long stream) {
        return jcuda.driver.JCudaDriver.cuEventRecord(event(event), stream(stream));
    }

    @Override
    public int cuEventSynchronize(long event) {
        return jcuda.driver.JCudaDriver.cuEventSynchronize(event(event));
    }

    @Override
    public int cuEventQuery(long event) {
        return jcuda.driver.JCudaDriver.cuEventQuery(event(event));
    }

    @Override
    public int cuEventElapsedTime(MemorySegment milliseconds, long start, long end) {
        float[] value = new float[1];
        int code = jcuda.driver.JCudaDriver.cuEventElapsedTime(value, event(start), event(end));
        milliseconds.set(ValueLayout.JAVA_FLOAT, 0, value[0]);
        return code;
    }

    @Override
    public int cuStreamBeginCapture(long stream, int mode) {
        return jcuda.driver.JCudaDriver.cuStreamBeginCapture(stream(stream), mode);
    }

    @Override
    public int cuStreamEndCapture(long stream, MemorySegment graph) {
        CUgraph object = new CUgraph();
        return give(
                jcuda.driver.JCudaDriver.cuStreamEndCapture(stream(stream), object), object, graph);
    }

    @Override
    public int cuThreadExchangeStreamCaptureMode(MemorySegment mode) {
        int[] value = {mode.get(ValueLayout.JAVA_INT, 0)};
        return give(jcuda.driver.JCudaDriver.cuThreadExchangeStreamCaptureMode(value), value, mode);
    }

    @Override
    public int cuGraphGetNodes(long graph, MemorySegment count) {
        long[] value = new long[1];
        return give(
                jcuda.driver.JCudaDriver.cuGraphGetNodes(object(graph, CUgraph.class), null, value),
                value,
                count);
    }

    @Override
    public int cuGraphInstantiate(MemorySegment executable, long graph) {
        CUgraphExec object = new CUgraphExec();
        return give(
                jcuda.driver.JCudaDriver.cuGraphInstantiate(
                        object, object(graph, CUgraph.class), 0L),
                object,
                executable);
    }

    /// JCuda's function of that name is not linked to the driver's: the answer is always that the
    /// graph has to be instantiated anew.
    @Override
    public int cuGraphExecUpdate(long executable, long graph, MemorySegment resultInfo) {
        return GRAPH_EXEC_UPDATE_FAILURE;
    }

    @Override
    public int cuGraphLaunch(long executable, long stream) {
        return jcuda.driver.JCudaDriver.cuGraphLaunch(
                object(executable, CUgraphExec.class), stream(stream));
    }

    @Override
    public int cuGraphExecDestroy(long executable) {
        int code =
                jcuda.driver.JCudaDriver.cuGraphExecDestroy(object(executable, CUgraphExec.class));
        objects.remove(executable);
        return code;
    }

    @Override
    public int cuGraphDestroy(long graph) {
        int code = jcuda.driver.JCudaDriver.cuGraphDestroy(object(graph, CUgraph.class));
        objects.remove(graph);
        return code;
    }

    /// cuModuleLoadData; the module belongs to the current context alone.
    @Override
    public int cuLibraryLoadData(MemorySegment library, MemorySegment image) {
        CUmodule object = new CUmodule();
        byte[] bytes = image.toArray(ValueLayout.JAVA_BYTE);
        return give(jcuda.driver.JCudaDriver.cuModuleLoadData(object, bytes), object, library);
    }

    @Override
    public int cuLibraryUnload(long library) {
        int code = jcuda.driver.JCudaDriver.cuModuleUnload(object(library, CUmodule.class));
        objects.remove(library);
        return code;
    }

    /// cuModuleGetFunction; kernel and function are one.
    @Override
    public int cuLibraryGetKernel(MemorySegment kernel, long library, String name) {
        CUfunction object = new CUfunction();
        return give(
                jcuda.driver.JCudaDriver.cuModuleGetFunction(
                        object, object(library, CUmodule.class), name),
                object,
                kernel);
    }

    @Override
    public int cuKernelGetFunction(MemorySegment function, long kernel) {
        function.set(ValueLayout.JAVA_LONG, 0, kernel);
        return SUCCESS;
    }

    /// A query of an attribute loads the code just so.
    @Override
    public int cuFuncLoad(long function) {
        return jcuda.driver.JCudaDriver.cuFuncGetAttribute(
                new int[1], FUNC_ATTRIBUTE_NUM_REGS, function(function));
    }

    @Override
    public int cuFuncGetAttribute(MemorySegment value, int attribute, long function) {
        int[] result = new int[1];
        return give(
                jcuda.driver.JCudaDriver.cuFuncGetAttribute(result, attribute, function(function)),
                result,
                value);
    }

    @Override
    public int cuFuncSetAttribute(long function, int attribute, int value) {
        return jcuda.driver.JCudaDriver.cuFuncSetAttribute(function(function), attribute, value);
    }

    @Override
    public int cuFuncGetParamInfo(
            long function, long index, MemorySegment offset, MemorySegment size) {
        throw missing("cuFuncGetParamInfo");
    }

    @Override
    public int cuOccupancyMaxActiveBlocksPerMultiprocessor(
            MemorySegment blocks, long function, int threads, long sharedBytes) {
        int[] value = new int[1];
        return give(
                jcuda.driver.JCudaDriver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                        value, function(function), threads, sharedBytes),
                value,
                blocks);
    }

    @Override
    public int cuOccupancyMaxActiveClusters(
            MemorySegment clusters, long function, LaunchConfig config) {
        throw missing("cuOccupancyMaxActiveClusters");
    }

    @Override
    public int cuLaunchKernelEx(LaunchConfig config, long function, MemorySegment parameters) {
        if (config.attributeCount() > 0) {
            throw missing("cuLaunchKernelEx (clusters, programmatic launches)");
        }
        return jcuda.driver.JCudaDriver.cuLaunchKernel(
                function(function),
                config.gridX(),
                config.gridY(),
                config.gridZ(),
                config.threads(),
                1,
                1,
                config.sharedBytes(),
                stream(config.stream()),
                new Memory(parameters),
                null);
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
        throw missing("cuTensorMapEncodeTiled");
    }
}
