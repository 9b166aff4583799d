package dev.saccade.engine.internal.cuda;

import static dev.saccade.engine.internal.cuda.Structs.LAUNCH_ATTRIBUTE;
import static dev.saccade.engine.internal.cuda.Structs.LAUNCH_CONFIG;
import static dev.saccade.engine.internal.cuda.Structs.offset;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A CUlaunchConfig in native memory with room for its attributes, written anew at each launch.
public final class LaunchConfig {
    private static final long GRID_X = offset(LAUNCH_CONFIG, "gridDimX");
    private static final long GRID_Y = offset(LAUNCH_CONFIG, "gridDimY");
    private static final long GRID_Z = offset(LAUNCH_CONFIG, "gridDimZ");
    private static final long BLOCK_X = offset(LAUNCH_CONFIG, "blockDimX");
    private static final long BLOCK_Y = offset(LAUNCH_CONFIG, "blockDimY");
    private static final long BLOCK_Z = offset(LAUNCH_CONFIG, "blockDimZ");
    private static final long SHARED = offset(LAUNCH_CONFIG, "sharedMemBytes");
    private static final long STREAM = offset(LAUNCH_CONFIG, "hStream");
    private static final long ATTRIBUTES = offset(LAUNCH_CONFIG, "attrs");
    private static final long ATTRIBUTE_COUNT = offset(LAUNCH_CONFIG, "numAttrs");
    private static final long ID = offset(LAUNCH_ATTRIBUTE, "id");
    private static final long VALUE = offset(LAUNCH_ATTRIBUTE, "value");

    private final MemorySegment struct;
    private final MemorySegment attributes;
    private int clusterX = 1;
    private int clusterY = 1;
    private int clusterZ = 1;
    private boolean programmatic;

    /// @param arena lives as long as this is used
    public LaunchConfig(Arena arena, long stream) {
        struct = arena.allocate(LAUNCH_CONFIG);
        attributes = arena.allocate(LAUNCH_ATTRIBUTE, 2);
        struct.set(JAVA_INT, BLOCK_Y, 1);
        struct.set(JAVA_INT, BLOCK_Z, 1);
        struct.set(JAVA_LONG, STREAM, stream);
        struct.set(JAVA_LONG, ATTRIBUTES, attributes.address());
    }

    /// What the next launch covers.
    public void set(int gridX, int gridY, int gridZ, int threads, int sharedBytes) {
        struct.set(JAVA_INT, GRID_X, gridX);
        struct.set(JAVA_INT, GRID_Y, gridY);
        struct.set(JAVA_INT, GRID_Z, gridZ);
        struct.set(JAVA_INT, BLOCK_X, threads);
        struct.set(JAVA_INT, SHARED, sharedBytes);
    }

    /// Blocks of a cluster, from now on; 1, 1, 1 for none.
    public void cluster(int x, int y, int z) {
        clusterX = x;
        clusterY = y;
        clusterZ = z;
        writeAttributes();
    }

    /// Whether a launch may begin before the one ahead of it has finished, from now on.
    public void programmatic(boolean value) {
        programmatic = value;
        writeAttributes();
    }

    private void writeAttributes() {
        long at = 0;
        if (clusterX * clusterY * clusterZ > 1) {
            attributes.set(JAVA_INT, at + ID, Structs.ATTRIBUTE_CLUSTER_DIMENSION);
            attributes.set(JAVA_INT, at + VALUE, clusterX);
            attributes.set(JAVA_INT, at + VALUE + 4, clusterY);
            attributes.set(JAVA_INT, at + VALUE + 8, clusterZ);
            at += LAUNCH_ATTRIBUTE.byteSize();
        }
        if (programmatic) {
            attributes.set(JAVA_INT, at + ID, Structs.ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
            attributes.set(JAVA_INT, at + VALUE, 1);
            at += LAUNCH_ATTRIBUTE.byteSize();
        }
        struct.set(JAVA_INT, ATTRIBUTE_COUNT, Math.toIntExact(at / LAUNCH_ATTRIBUTE.byteSize()));
    }

    MemorySegment struct() {
        return struct;
    }

    int gridX() {
        return struct.get(JAVA_INT, GRID_X);
    }

    int gridY() {
        return struct.get(JAVA_INT, GRID_Y);
    }

    int gridZ() {
        return struct.get(JAVA_INT, GRID_Z);
    }

    int threads() {
        return struct.get(JAVA_INT, BLOCK_X);
    }

    int sharedBytes() {
        return struct.get(JAVA_INT, SHARED);
    }

    long stream() {
        return struct.get(JAVA_LONG, STREAM);
    }

    int attributeCount() {
        return struct.get(JAVA_INT, ATTRIBUTE_COUNT);
    }

    /// `grid 4x1x1, block 256, 0 bytes of shared memory`, and the cluster where there is one.
    @Override
    public String toString() {
        return "grid %dx%dx%d, block %d, %d bytes of dynamic shared memory%s"
                .formatted(
                        gridX(),
                        gridY(),
                        gridZ(),
                        threads(),
                        sharedBytes(),
                        clusterX * clusterY * clusterZ > 1
                                ? ", cluster %dx%dx%d".formatted(clusterX, clusterY, clusterZ)
                                : "");
    }
}
