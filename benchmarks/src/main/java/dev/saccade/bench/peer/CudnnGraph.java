package dev.saccade.bench.peer;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// A graph of cuDNN operations while it is being put together. Tensors and operations are opaque
/// descriptors; [#close()] destroys all of them.
final class CudnnGraph implements AutoCloseable {
    /// Descriptors of engine configurations that are asked for.
    private static final int CONFIGURATIONS = 16;

    private static final long ALIGNMENT_BYTES = 16;
    private static final long FIRST_VIRTUAL_ID = 1000;

    private final Cudnn cudnn;
    private final Arena arena = Arena.ofConfined();
    private final MemorySegment out = arena.allocate(JAVA_LONG);
    private final List<Long> descriptors = new ArrayList<>();
    private final List<Long> operations = new ArrayList<>();
    private long nextVirtualId = FIRST_VIRTUAL_ID;

    CudnnGraph(Cudnn cudnn) {
        this.cudnn = cudnn;
    }

    /// Throws what the library says of a failed call.
    void check(int status, String what) {
        if (status != 0) {
            throw new UnsupportedOperationException(
                    "cuDNN: " + what + ": " + cudnn.statusText(status));
        }
    }

    private long create(int type) {
        check(cudnn.createDescriptor(type, out), "cudnnBackendCreateDescriptor");
        long descriptor = out.get(JAVA_LONG, 0);
        descriptors.add(descriptor);
        return descriptor;
    }

    private void finish(long descriptor, String what) {
        check(cudnn.finish(descriptor), what);
    }

    /// Sets an attribute of 8-byte values: handles, descriptors, addresses, integers.
    private void setLongs(long descriptor, int name, int type, long... values) {
        check(
                cudnn.setAttribute(
                        descriptor,
                        name,
                        type,
                        values.length,
                        arena.allocateFrom(JAVA_LONG, values)),
                "attribute " + name);
    }

    /// Sets an attribute that is an enumeration's value.
    private void setInt(long descriptor, int name, int type, int value) {
        check(
                cudnn.setAttribute(descriptor, name, type, 1, arena.allocateFrom(JAVA_INT, value)),
                "attribute " + name);
    }

    private void setTrue(long descriptor, int name) {
        check(
                cudnn.setAttribute(
                        descriptor,
                        name,
                        Cudnn.TYPE_BOOLEAN,
                        1,
                        arena.allocateFrom(JAVA_BYTE, (byte) 1)),
                "attribute " + name);
    }

    private long startTensor(long id, int dataType, long[] dimensions, long[] strides) {
        long tensor = create(Cudnn.TENSOR_DESCRIPTOR);
        setLongs(tensor, Cudnn.TENSOR_UNIQUE_ID, Cudnn.TYPE_INT64, id);
        setInt(tensor, Cudnn.TENSOR_DATA_TYPE, Cudnn.TYPE_DATA_TYPE, dataType);
        setLongs(tensor, Cudnn.TENSOR_BYTE_ALIGNMENT, Cudnn.TYPE_INT64, ALIGNMENT_BYTES);
        setLongs(tensor, Cudnn.TENSOR_DIMENSIONS, Cudnn.TYPE_INT64, dimensions);
        setLongs(tensor, Cudnn.TENSOR_STRIDES, Cudnn.TYPE_INT64, strides);
        return tensor;
    }

    /// A tensor in device memory.
    long tensor(long id, int dataType, long[] dimensions, long[] strides) {
        long tensor = startTensor(id, dataType, dimensions, strides);
        finish(tensor, "tensor " + id);
        return tensor;
    }

    /// A number that is given from host memory.
    long scalar(long id) {
        long[] ones = {1, 1, 1, 1};
        long tensor = startTensor(id, Cudnn.DATA_FLOAT, ones, ones);
        setTrue(tensor, Cudnn.TENSOR_IS_BY_VALUE);
        finish(tensor, "scalar " + id);
        return tensor;
    }

    /// A dense tensor between two operations, which is never in memory.
    long between(int dataType, long... dimensions) {
        long[] strides = new long[dimensions.length];
        long stride = 1;
        for (int i = dimensions.length - 1; i >= 0; i--) {
            strides[i] = stride;
            stride *= dimensions[i];
        }
        long tensor = startTensor(nextVirtualId++, dataType, dimensions, strides);
        setTrue(tensor, Cudnn.TENSOR_IS_VIRTUAL);
        finish(tensor, "virtual tensor");
        return tensor;
    }

    /// `c = a b` over the last two dimensions.
    void matmul(long a, long b, long c) {
        long description = create(Cudnn.MATMUL_DESCRIPTOR);
        setInt(description, Cudnn.MATMUL_COMP_TYPE, Cudnn.TYPE_DATA_TYPE, Cudnn.DATA_FLOAT);
        finish(description, "matmul description");
        long operation = create(Cudnn.OPERATION_MATMUL_DESCRIPTOR);
        link(operation, Cudnn.OPERATION_MATMUL_DESC, description);
        link(operation, Cudnn.OPERATION_MATMUL_ADESC, a);
        link(operation, Cudnn.OPERATION_MATMUL_BDESC, b);
        link(operation, Cudnn.OPERATION_MATMUL_CDESC, c);
        finishOperation(operation, "matmul");
    }

    /// `y = mode(x)`.
    void pointwise(int mode, int precision, long x, long y) {
        long operation = startPointwise(pointwiseMode(mode, precision), x, y);
        finishOperation(operation, "pointwise operation " + mode);
    }

    /// `y = mode(x, b)`.
    void pointwise(int mode, int precision, long x, long b, long y) {
        long operation = startPointwise(pointwiseMode(mode, precision), x, y);
        link(operation, Cudnn.OPERATION_POINTWISE_BDESC, b);
        finishOperation(operation, "pointwise operation " + mode);
    }

    /// `y = condition ? x : b`.
    void select(long condition, long x, long b, long y) {
        long operation =
                startPointwise(
                        pointwiseMode(Cudnn.POINTWISE_BINARY_SELECT, Cudnn.DATA_FLOAT), x, y);
        link(operation, Cudnn.OPERATION_POINTWISE_BDESC, b);
        link(operation, Cudnn.OPERATION_POINTWISE_TDESC, condition);
        finishOperation(operation, "selection");
    }

    /// `y` = each element's index along a dimension of `x`.
    void index(int axis, long x, long y) {
        long description = startPointwiseMode(Cudnn.POINTWISE_GEN_INDEX, Cudnn.DATA_INT32);
        setLongs(description, Cudnn.POINTWISE_AXIS, Cudnn.TYPE_INT64, axis);
        finish(description, "index description");
        finishOperation(startPointwise(description, x, y), "index");
    }

    /// `y` = x reduced along the dimensions in which y has extent 1.
    void reduce(int operator, long x, long y) {
        long description = create(Cudnn.REDUCTION_DESCRIPTOR);
        setInt(description, Cudnn.REDUCTION_OPERATOR, Cudnn.TYPE_REDUCTION_OPERATOR, operator);
        setInt(description, Cudnn.REDUCTION_COMP_TYPE, Cudnn.TYPE_DATA_TYPE, Cudnn.DATA_FLOAT);
        finish(description, "reduction description");
        long operation = create(Cudnn.OPERATION_REDUCTION_DESCRIPTOR);
        link(operation, Cudnn.OPERATION_REDUCTION_DESC, description);
        link(operation, Cudnn.OPERATION_REDUCTION_XDESC, x);
        link(operation, Cudnn.OPERATION_REDUCTION_YDESC, y);
        finishOperation(operation, "reduction " + operator);
    }

    private long startPointwiseMode(int mode, int precision) {
        long description = create(Cudnn.POINTWISE_DESCRIPTOR);
        setInt(description, Cudnn.POINTWISE_MODE, Cudnn.TYPE_POINTWISE_MODE, mode);
        setInt(description, Cudnn.POINTWISE_MATH_PREC, Cudnn.TYPE_DATA_TYPE, precision);
        return description;
    }

    private long pointwiseMode(int mode, int precision) {
        long description = startPointwiseMode(mode, precision);
        finish(description, "pointwise description " + mode);
        return description;
    }

    private long startPointwise(long description, long x, long y) {
        long operation = create(Cudnn.OPERATION_POINTWISE_DESCRIPTOR);
        link(operation, Cudnn.OPERATION_POINTWISE_PW_DESCRIPTOR, description);
        link(operation, Cudnn.OPERATION_POINTWISE_XDESC, x);
        link(operation, Cudnn.OPERATION_POINTWISE_YDESC, y);
        return operation;
    }

    private void link(long descriptor, int name, long other) {
        setLongs(descriptor, name, Cudnn.TYPE_BACKEND_DESCRIPTOR, other);
    }

    private void finishOperation(long operation, String what) {
        finish(operation, what);
        operations.add(operation);
    }

    /// The graph of all operations made so far, in the order in which they were.
    long graph(long handle) {
        long graph = create(Cudnn.OPERATIONGRAPH_DESCRIPTOR);
        setLongs(graph, Cudnn.OPERATIONGRAPH_HANDLE, Cudnn.TYPE_HANDLE, handle);
        setLongs(
                graph,
                Cudnn.OPERATIONGRAPH_OPS,
                Cudnn.TYPE_BACKEND_DESCRIPTOR,
                operations.stream().mapToLong(Long::longValue).toArray());
        finish(graph, "the operation graph");
        return graph;
    }

    /// The first plan for the graph, in the order of cuDNN's own heuristic, that can be made.
    long plan(long handle, long graph) {
        long heuristic = create(Cudnn.ENGINEHEUR_DESCRIPTOR);
        link(heuristic, Cudnn.ENGINEHEUR_OPERATION_GRAPH, graph);
        setInt(heuristic, Cudnn.ENGINEHEUR_MODE, Cudnn.TYPE_HEUR_MODE, Cudnn.HEUR_MODE_A);
        finish(heuristic, "the heuristic");
        long[] configurations = new long[CONFIGURATIONS];
        for (int i = 0; i < configurations.length; i++) {
            configurations[i] = create(Cudnn.ENGINECFG_DESCRIPTOR);
        }
        check(
                cudnn.getAttribute(
                        heuristic,
                        Cudnn.ENGINEHEUR_RESULTS,
                        Cudnn.TYPE_BACKEND_DESCRIPTOR,
                        configurations.length,
                        out,
                        arena.allocateFrom(JAVA_LONG, configurations)),
                "the heuristic's results");
        long count = Math.min(out.get(JAVA_LONG, 0), configurations.length);
        String reason = "no engine offers itself";
        for (int i = 0; i < count; i++) {
            long plan = create(Cudnn.EXECUTION_PLAN_DESCRIPTOR);
            setLongs(plan, Cudnn.EXECUTION_PLAN_HANDLE, Cudnn.TYPE_HANDLE, handle);
            link(plan, Cudnn.EXECUTION_PLAN_ENGINE_CONFIG, configurations[i]);
            int status = cudnn.finish(plan);
            if (status == 0) {
                return plan;
            }
            reason = cudnn.statusText(status);
        }
        throw new UnsupportedOperationException("cuDNN: no plan for this graph: " + reason);
    }

    /// Bytes of device memory that a plan works in.
    long workspaceBytes(long plan) {
        MemorySegment bytes = arena.allocate(JAVA_LONG);
        check(
                cudnn.getAttribute(
                        plan, Cudnn.EXECUTION_PLAN_WORKSPACE_SIZE, Cudnn.TYPE_INT64, 1, out, bytes),
                "the workspace's size");
        return bytes.get(JAVA_LONG, 0);
    }

    /// The operands of one execution.
    ///
    /// @param ids the tensors'
    /// @param addresses where they are; those of scalars in host memory
    long variantPack(long[] ids, long[] addresses, long workspace) {
        long pack = create(Cudnn.VARIANT_PACK_DESCRIPTOR);
        setLongs(pack, Cudnn.VARIANT_PACK_UNIQUE_IDS, Cudnn.TYPE_INT64, ids);
        setLongs(pack, Cudnn.VARIANT_PACK_DATA_POINTERS, Cudnn.TYPE_VOID_PTR, addresses);
        setLongs(pack, Cudnn.VARIANT_PACK_WORKSPACE, Cudnn.TYPE_VOID_PTR, workspace);
        finish(pack, "the variant pack");
        return pack;
    }

    /// Host memory that lives as long as the graph.
    MemorySegment number(float value) {
        return arena.allocateFrom(JAVA_FLOAT, value);
    }

    @Override
    public void close() {
        for (int i = descriptors.size() - 1; i >= 0; i--) {
            int _ = cudnn.destroyDescriptor(descriptors.get(i));
        }
        descriptors.clear();
        arena.close();
    }
}
