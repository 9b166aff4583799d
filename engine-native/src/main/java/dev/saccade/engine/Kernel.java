package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.LaunchConfig;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A kernel and its one prebuilt parameter block. A launch writes the arguments in order and goes:
///
/// ```java
/// kernel.begin().pointer(x).pointer(y).int32(rows).float32(eps).launch(rows, 256);
/// ```
///
/// Nothing is allocated. Each argument's size is checked against the size that the driver reports
/// for the parameter in its place (cuFuncGetParamInfo), and a launch checks that all were given. A
/// binding that can't ask the driver (JCuda) lets the first launch decide the sizes and holds later
/// ones to them. A kernel is used by its device's thread alone. The launch goes to the device's
/// stream and returns at once; a fault shows at the next synchronisation, or at once in debug mode
/// (`-Dsaccade.cuda.debug=true`), which names kernel, grid and arguments.
public final class Kernel {
    /// What a block may use of shared memory, static and dynamic, without asking.
    private static final int PLAIN_SHARED_BYTES = 48 << 10;

    /// Blocks of a cluster that every device can hold.
    private static final int PORTABLE_CLUSTER = 8;

    private static final int MOST_PARAMETERS = 128;
    private static final long MOST_PARAMETER_BYTES = 4096;

    private final CudaContext context;
    private final Stream stream;
    private final CudaProperties properties;
    private final String name;
    private final long function;
    private final LaunchConfig config;
    private final MemorySegment values;
    private final MemorySegment pointers;
    private final int[] offsets = new int[MOST_PARAMETERS];
    private final int[] sizes = new int[MOST_PARAMETERS];
    private final char[] kinds = new char[MOST_PARAMETERS];
    private int count;
    private boolean fixed;
    private int next;
    private boolean begun;
    private int plainSharedBytes;

    Kernel(
            CudaContext context,
            Stream stream,
            CudaProperties properties,
            String name,
            long function) {
        this.context = context;
        this.stream = stream;
        this.properties = properties;
        this.name = name;
        this.function = function;
        config = new LaunchConfig(context.arena, stream.handle());
        values = context.arena.allocate(MOST_PARAMETER_BYTES, 128);
        pointers = context.arena.allocate(ValueLayout.ADDRESS, MOST_PARAMETERS);
        plainSharedBytes =
                PLAIN_SHARED_BYTES - attribute(CudaDriver.FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
        if (context.driver.describesParameters()) {
            askForParameters();
            fixed = true;
        }
    }

    private void askForParameters() {
        while (count < MOST_PARAMETERS) {
            int code =
                    context.driver.cuFuncGetParamInfo(function, count, context.out, context.second);
            if (code == CudaDriver.INVALID_VALUE) {
                return; // one past the last
            }
            context.check(code, "cuFuncGetParamInfo");
            long offset = context.outLong();
            long size = context.second.get(ValueLayout.JAVA_LONG, 0);
            if (offset + size > MOST_PARAMETER_BYTES) {
                throw new IllegalStateException(
                        "kernel " + name + " has more than 4096 bytes of parameters");
            }
            place(count++, (int) offset, (int) size);
        }
    }

    private void place(int index, int offset, int size) {
        offsets[index] = offset;
        sizes[index] = size;
        pointers.setAtIndex(ValueLayout.JAVA_LONG, index, values.address() + offset);
    }

    /// The kernel's name.
    public String name() {
        return name;
    }

    /// Starts a new list of arguments.
    public Kernel begin() {
        next = 0;
        begun = true;
        return this;
    }

    /// A pointer argument: the address of operand memory, 0 for none.
    public Kernel pointer(long address) {
        values.set(ValueLayout.JAVA_LONG_UNALIGNED, argument('p', 8, 8), address);
        return this;
    }

    /// An `int` argument.
    public Kernel int32(int value) {
        values.set(ValueLayout.JAVA_INT_UNALIGNED, argument('i', 4, 4), value);
        return this;
    }

    /// A `long long` argument.
    public Kernel int64(long value) {
        values.set(ValueLayout.JAVA_LONG_UNALIGNED, argument('l', 8, 8), value);
        return this;
    }

    /// A `float` argument.
    public Kernel float32(float value) {
        values.set(ValueLayout.JAVA_FLOAT_UNALIGNED, argument('f', 4, 4), value);
        return this;
    }

    /// A `double` argument.
    public Kernel float64(double value) {
        values.set(ValueLayout.JAVA_DOUBLE_UNALIGNED, argument('d', 8, 8), value);
        return this;
    }

    /// A `const __grid_constant__ CUtensorMap` argument, as it is encoded now.
    public Kernel tensorMap(TensorMap map) {
        MemorySegment encoded = map.encoded();
        int bytes = (int) encoded.byteSize();
        MemorySegment.copy(encoded, 0, values, argument('t', bytes, bytes), bytes);
        return this;
    }

    /// Takes the next place for an argument of this kind and size; where the value goes.
    private long argument(char kind, int size, int alignment) {
        int index = next;
        if (!begun) {
            throw new IllegalStateException("kernel " + name + ": an argument before begin()");
        }
        if (!fixed) {
            int offset = index == 0 ? 0 : offsets[index - 1] + sizes[index - 1];
            place(index, (offset + alignment - 1) / alignment * alignment, size);
        } else if (index >= count) {
            begun = false;
            throw new IllegalArgumentException(
                    "kernel %s has %d parameters: there is none for a further argument %s"
                            .formatted(name, count, kindName(kind)));
        } else if (sizes[index] != size) {
            begun = false;
            throw new IllegalArgumentException(
                    "kernel %s: argument %d is %s of %d bytes, but the parameter there has %d"
                            .formatted(name, index, kindName(kind), size, sizes[index]));
        }
        kinds[index] = kind;
        next = index + 1;
        return offsets[index];
    }

    private static String kindName(char kind) {
        return switch (kind) {
            case 'p' -> "pointer";
            case 'i' -> "int32";
            case 'l' -> "int64";
            case 'f' -> "float32";
            case 'd' -> "float64";
            default -> "tensorMap";
        };
    }

    /// From now on, launches in clusters of so many blocks (compute capability 9.0); 1, 1, 1 for
    /// none. More than 8 blocks are opted in to.
    public Kernel cluster(int x, int y, int z) {
        context.enter();
        if (x * y * z > PORTABLE_CLUSTER) {
            set(CudaDriver.FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
        }
        config.cluster(x, y, z);
        return this;
    }

    /// From now on, whether a launch may begin before the work ahead of it has finished; the kernel
    /// then waits itself (`griddepcontrol.wait`) before it reads what that work wrote.
    public Kernel programmatic(boolean value) {
        config.programmatic(value);
        return this;
    }

    /// Launches `gridX` blocks of `threads` threads. A grid of 0 blocks launches nothing.
    public void launch(int gridX, int threads) {
        launch(gridX, 1, 1, threads, 0);
    }

    /// Launches a grid of blocks of `threads` threads with `sharedBytes` of dynamic shared memory
    /// (more than 48 KiB is opted in to as needed). A grid of 0 blocks launches nothing.
    ///
    /// @throws IllegalArgumentException when arguments are missing or the launch asks for more than
    ///   the device has
    /// @throws CudaException when the driver refuses the launch
    public void launch(int gridX, int gridY, int gridZ, int threads, int sharedBytes) {
        context.enter();
        if (!begun) {
            throw new IllegalStateException("kernel " + name + ": a launch without begin()");
        }
        begun = false;
        if (!fixed) {
            count = next;
            fixed = true;
        } else if (next != count) {
            throw new IllegalArgumentException(
                    "kernel %s has %d parameters, but %d arguments were given"
                            .formatted(name, count, next));
        }
        if (gridX == 0 || gridY == 0 || gridZ == 0) {
            return;
        }
        if (sharedBytes > plainSharedBytes) {
            allowShared(sharedBytes);
        }
        config.set(gridX, gridY, gridZ, threads, sharedBytes);
        int code = context.driver.cuLaunchKernelEx(config, function, pointers);
        if (code != CudaDriver.SUCCESS) {
            throw failure(code, "cuLaunchKernelEx");
        }
        if (context.debug && !context.recording()) {
            code = context.driver.cuStreamSynchronize(stream.handle());
            if (code != CudaDriver.SUCCESS) {
                throw failure(code, "cuStreamSynchronize after the launch");
            }
        }
    }

    private CudaException failure(int code, String call) {
        StringBuilder arguments = new StringBuilder("; arguments:");
        for (int i = 0; i < count; i++) {
            arguments.append(i == 0 ? " " : ", ").append(argumentText(i));
        }
        return context.failure(
                code, call, name, config.toString(), count == 0 ? "" : arguments.toString());
    }

    private String argumentText(int index) {
        long at = offsets[index];
        return switch (kinds[index]) {
            case 'p' -> "0x" + Long.toHexString(values.get(ValueLayout.JAVA_LONG_UNALIGNED, at));
            case 'i' -> Integer.toString(values.get(ValueLayout.JAVA_INT_UNALIGNED, at));
            case 'l' -> values.get(ValueLayout.JAVA_LONG_UNALIGNED, at) + "L";
            case 'f' -> values.get(ValueLayout.JAVA_FLOAT_UNALIGNED, at) + "f";
            case 'd' -> Double.toString(values.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, at));
            default -> "a tensor map";
        };
    }

    /// Opts in to more than 48 KiB of dynamic shared memory, always to the most that was asked for
    /// so far.
    private void allowShared(int sharedBytes) {
        int most =
                properties.sharedBytesPerBlock()
                        - attribute(CudaDriver.FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
        if (sharedBytes > most) {
            throw new IllegalArgumentException(
                    "kernel %s: %d bytes of dynamic shared memory, but %s has %d for a block of it"
                            .formatted(name, sharedBytes, context.device, most));
        }
        set(CudaDriver.FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, sharedBytes);
        plainSharedBytes = sharedBytes;
    }

    private void set(int attribute, int value) {
        int mode = context.relax();
        try {
            context.check(
                    context.driver.cuFuncSetAttribute(function, attribute, value),
                    "cuFuncSetAttribute");
        } finally {
            context.restrict(mode);
        }
    }

    private int attribute(int attribute) {
        context.check(
                context.driver.cuFuncGetAttribute(context.out, attribute, function),
                "cuFuncGetAttribute");
        return context.outInt();
    }

    /// Blocks of `threads` threads with `sharedBytes` of dynamic shared memory that fit a
    /// multiprocessor at once.
    public int blocksPerMultiprocessor(int threads, int sharedBytes) {
        context.enter();
        if (sharedBytes > plainSharedBytes) {
            allowShared(sharedBytes);
        }
        context.check(
                context.driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                        context.out, function, threads, sharedBytes),
                "cuOccupancyMaxActiveBlocksPerMultiprocessor");
        return context.outInt();
    }

    /// Clusters, as set by [#cluster(int, int, int)], that the device can run at once with blocks
    /// of `threads` threads and `sharedBytes` of dynamic shared memory.
    public int activeClusters(int threads, int sharedBytes) {
        context.enter();
        if (sharedBytes > plainSharedBytes) {
            allowShared(sharedBytes);
        }
        config.set(properties.multiprocessors(), 1, 1, threads, sharedBytes);
        context.check(
                context.driver.cuOccupancyMaxActiveClusters(context.out, function, config),
                "cuOccupancyMaxActiveClusters");
        return context.outInt();
    }

    /// What the loaded code of the kernel is.
    ///
    /// @param name the kernel
    /// @param binary compute capability times 10 of the machine code that runs, 90 for 9.0
    /// @param ptx that of the PTX it was made from; equal to `binary` or lower when the driver
    ///   compiled it here
    /// @param registers registers of a thread
    /// @param localBytes spilled and indexed memory of a thread
    /// @param sharedBytes static shared memory of a block
    public record Image(
            String name, int binary, int ptx, int registers, int localBytes, int sharedBytes) {}

    Image image() {
        return new Image(
                name,
                attribute(CudaDriver.FUNC_ATTRIBUTE_BINARY_VERSION),
                attribute(CudaDriver.FUNC_ATTRIBUTE_PTX_VERSION),
                attribute(CudaDriver.FUNC_ATTRIBUTE_NUM_REGS),
                attribute(CudaDriver.FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES),
                attribute(CudaDriver.FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
    }
}
