package dev.saccade.engine.internal.cuda;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;

/// The structs of cuda.h that cross the border. A test compares sizes and offsets with what a C
/// compiler makes of the header.
public final class Structs {

    /// CUlaunchConfig.
    public static final StructLayout LAUNCH_CONFIG =
            MemoryLayout.structLayout(
                            ValueLayout.JAVA_INT.withName("gridDimX"),
                            ValueLayout.JAVA_INT.withName("gridDimY"),
                            ValueLayout.JAVA_INT.withName("gridDimZ"),
                            ValueLayout.JAVA_INT.withName("blockDimX"),
                            ValueLayout.JAVA_INT.withName("blockDimY"),
                            ValueLayout.JAVA_INT.withName("blockDimZ"),
                            ValueLayout.JAVA_INT.withName("sharedMemBytes"),
                            MemoryLayout.paddingLayout(4),
                            ValueLayout.JAVA_LONG.withName("hStream"),
                            ValueLayout.JAVA_LONG.withName("attrs"),
                            ValueLayout.JAVA_INT.withName("numAttrs"),
                            MemoryLayout.paddingLayout(4))
                    .withName("CUlaunchConfig");

    /// CUlaunchAttribute. Of its union of values only what the engine sets is spelled out: three
    /// integers of a cluster's shape, the first of which is also the programmatic-launch switch.
    public static final StructLayout LAUNCH_ATTRIBUTE =
            MemoryLayout.structLayout(
                            ValueLayout.JAVA_INT.withName("id"),
                            MemoryLayout.paddingLayout(4),
                            MemoryLayout.sequenceLayout(16, ValueLayout.JAVA_INT).withName("value"))
                    .withByteAlignment(8)
                    .withName("CUlaunchAttribute");

    /// CUtensorMap: opaque.
    public static final StructLayout TENSOR_MAP =
            MemoryLayout.structLayout(
                            MemoryLayout.sequenceLayout(16, ValueLayout.JAVA_LONG)
                                    .withName("opaque"))
                    .withByteAlignment(128)
                    .withName("CUtensorMap");

    /// CUgraphExecUpdateResultInfo.
    public static final StructLayout GRAPH_EXEC_UPDATE_RESULT_INFO =
            MemoryLayout.structLayout(
                            ValueLayout.JAVA_INT.withName("result"),
                            MemoryLayout.paddingLayout(4),
                            ValueLayout.JAVA_LONG.withName("errorNode"),
                            ValueLayout.JAVA_LONG.withName("errorFromNode"))
                    .withName("CUgraphExecUpdateResultInfo");

    /// CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION.
    public static final int ATTRIBUTE_CLUSTER_DIMENSION = 4;

    /// CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION.
    public static final int ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6;

    private Structs() {}

    static long offset(StructLayout struct, String field) {
        return struct.byteOffset(PathElement.groupElement(field));
    }
}
