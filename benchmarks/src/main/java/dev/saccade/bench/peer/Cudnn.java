package dev.saccade.bench.peer;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/// The functions of cuDNN 9 that its graph interface consists of, under their own names, and its
/// constants: those of cudnn_graph.h and cudnn_ops.h of 9.24; the ones used here are as old as 9.0.
final class Cudnn {
    /// cudnnBackendDescriptorType_t
    static final int POINTWISE_DESCRIPTOR = 0;

    static final int ENGINECFG_DESCRIPTOR = 3;
    static final int ENGINEHEUR_DESCRIPTOR = 4;
    static final int EXECUTION_PLAN_DESCRIPTOR = 5;
    static final int OPERATION_POINTWISE_DESCRIPTOR = 13;
    static final int OPERATIONGRAPH_DESCRIPTOR = 15;
    static final int VARIANT_PACK_DESCRIPTOR = 16;
    static final int TENSOR_DESCRIPTOR = 17;
    static final int MATMUL_DESCRIPTOR = 18;
    static final int OPERATION_MATMUL_DESCRIPTOR = 19;
    static final int REDUCTION_DESCRIPTOR = 21;
    static final int OPERATION_REDUCTION_DESCRIPTOR = 22;

    /// cudnnBackendAttributeName_t
    static final int POINTWISE_MODE = 0;

    static final int POINTWISE_MATH_PREC = 1;
    static final int POINTWISE_AXIS = 9;
    static final int ENGINEHEUR_MODE = 200;
    static final int ENGINEHEUR_OPERATION_GRAPH = 201;
    static final int ENGINEHEUR_RESULTS = 202;
    static final int EXECUTION_PLAN_HANDLE = 400;
    static final int EXECUTION_PLAN_ENGINE_CONFIG = 401;
    static final int EXECUTION_PLAN_WORKSPACE_SIZE = 402;
    static final int OPERATION_POINTWISE_PW_DESCRIPTOR = 750;
    static final int OPERATION_POINTWISE_XDESC = 751;
    static final int OPERATION_POINTWISE_BDESC = 752;
    static final int OPERATION_POINTWISE_YDESC = 753;
    static final int OPERATION_POINTWISE_TDESC = 758;
    static final int OPERATIONGRAPH_HANDLE = 800;
    static final int OPERATIONGRAPH_OPS = 801;
    static final int TENSOR_BYTE_ALIGNMENT = 900;
    static final int TENSOR_DATA_TYPE = 901;
    static final int TENSOR_DIMENSIONS = 902;
    static final int TENSOR_STRIDES = 903;
    static final int TENSOR_UNIQUE_ID = 906;
    static final int TENSOR_IS_VIRTUAL = 907;
    static final int TENSOR_IS_BY_VALUE = 908;
    static final int VARIANT_PACK_UNIQUE_IDS = 1000;
    static final int VARIANT_PACK_DATA_POINTERS = 1001;
    static final int VARIANT_PACK_WORKSPACE = 1003;
    static final int MATMUL_COMP_TYPE = 1500;
    static final int OPERATION_MATMUL_ADESC = 1520;
    static final int OPERATION_MATMUL_BDESC = 1521;
    static final int OPERATION_MATMUL_CDESC = 1522;
    static final int OPERATION_MATMUL_DESC = 1523;
    static final int REDUCTION_OPERATOR = 1600;
    static final int REDUCTION_COMP_TYPE = 1601;
    static final int OPERATION_REDUCTION_XDESC = 1610;
    static final int OPERATION_REDUCTION_YDESC = 1611;
    static final int OPERATION_REDUCTION_DESC = 1612;

    /// cudnnBackendAttributeType_t
    static final int TYPE_HANDLE = 0;

    static final int TYPE_DATA_TYPE = 1;
    static final int TYPE_BOOLEAN = 2;
    static final int TYPE_INT64 = 3;
    static final int TYPE_VOID_PTR = 6;
    static final int TYPE_HEUR_MODE = 8;
    static final int TYPE_POINTWISE_MODE = 14;
    static final int TYPE_BACKEND_DESCRIPTOR = 15;
    static final int TYPE_REDUCTION_OPERATOR = 18;

    /// cudnnDataType_t
    static final int DATA_FLOAT = 0;

    static final int DATA_INT32 = 4;
    static final int DATA_BFLOAT16 = 9;
    static final int DATA_BOOLEAN = 11;

    /// cudnnPointwiseMode_t
    static final int POINTWISE_ADD = 0;

    static final int POINTWISE_MUL = 1;
    static final int POINTWISE_DIV = 6;
    static final int POINTWISE_SUB = 9;
    static final int POINTWISE_EXP = 13;
    static final int POINTWISE_LOG = 15;
    static final int POINTWISE_CMP_GE = 303;
    static final int POINTWISE_GEN_INDEX = 501;
    static final int POINTWISE_BINARY_SELECT = 601;

    /// cudnnReduceTensorOp_t
    static final int REDUCE_TENSOR_ADD = 0;

    static final int REDUCE_TENSOR_MAX = 3;

    /// cudnnBackendHeurMode_t
    static final int HEUR_MODE_A = 3;

    private static final int MESSAGE_BYTES = 1024;

    private final MethodHandle create;
    private final MethodHandle destroy;
    private final MethodHandle getVersion;
    private final MethodHandle getErrorString;
    private final MethodHandle getLastErrorString;
    private final MethodHandle setStream;
    private final MethodHandle createDescriptor;
    private final MethodHandle destroyDescriptor;
    private final MethodHandle finish;
    private final MethodHandle setAttribute;
    private final MethodHandle getAttribute;
    private final MethodHandle execute;

    Cudnn(Library library) {
        create = library.function("cudnnCreate", JAVA_INT, ADDRESS);
        destroy = library.function("cudnnDestroy", JAVA_INT, JAVA_LONG);
        getVersion = library.function("cudnnGetVersion", JAVA_LONG);
        getErrorString = library.function("cudnnGetErrorString", ADDRESS, JAVA_INT);
        getLastErrorString = library.voidFunction("cudnnGetLastErrorString", ADDRESS, JAVA_LONG);
        setStream = library.function("cudnnSetStream", JAVA_INT, JAVA_LONG, JAVA_LONG);
        createDescriptor =
                library.function("cudnnBackendCreateDescriptor", JAVA_INT, JAVA_INT, ADDRESS);
        destroyDescriptor = library.function("cudnnBackendDestroyDescriptor", JAVA_INT, JAVA_LONG);
        finish = library.function("cudnnBackendFinalize", JAVA_INT, JAVA_LONG);
        setAttribute =
                library.function(
                        "cudnnBackendSetAttribute",
                        JAVA_INT,
                        JAVA_LONG,
                        JAVA_INT,
                        JAVA_INT,
                        JAVA_LONG,
                        ADDRESS);
        getAttribute =
                library.function(
                        "cudnnBackendGetAttribute",
                        JAVA_INT,
                        JAVA_LONG,
                        JAVA_INT,
                        JAVA_INT,
                        JAVA_LONG,
                        ADDRESS,
                        ADDRESS);
        execute =
                library.function("cudnnBackendExecute", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    }

    int create(MemorySegment handle) {
        try {
            return (int) create.invokeExact(handle);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int destroy(long handle) {
        try {
            return (int) destroy.invokeExact(handle);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    long version() {
        try {
            return (long) getVersion.invokeExact();
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    /// The name of a status and, where the library keeps one, its last message.
    String statusText(int status) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment message = arena.allocate(MESSAGE_BYTES);
            getLastErrorString.invokeExact(message, (long) MESSAGE_BYTES);
            String last = message.getString(0).strip();
            String name = Library.text((MemorySegment) getErrorString.invokeExact(status));
            return last.isEmpty() ? name : name + " (" + last + ")";
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int setStream(long handle, long stream) {
        try {
            return (int) setStream.invokeExact(handle, stream);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int createDescriptor(int type, MemorySegment descriptor) {
        try {
            return (int) createDescriptor.invokeExact(type, descriptor);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int destroyDescriptor(long descriptor) {
        try {
            return (int) destroyDescriptor.invokeExact(descriptor);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int finish(long descriptor) {
        try {
            return (int) finish.invokeExact(descriptor);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int setAttribute(long descriptor, int name, int type, long count, MemorySegment values) {
        try {
            return (int) setAttribute.invokeExact(descriptor, name, type, count, values);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int getAttribute(
            long descriptor,
            int name,
            int type,
            long requested,
            MemorySegment count,
            MemorySegment values) {
        try {
            return (int) getAttribute.invokeExact(descriptor, name, type, requested, count, values);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }

    int execute(long handle, long plan, long variantPack) {
        try {
            return (int) execute.invokeExact(handle, plan, variantPack);
        } catch (Throwable t) {
            throw Library.broken(t);
        }
    }
}
