package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.CudaDrivers;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// A CUDA GPU as a device: a caching pool over its memory, one stream for all work, programs and
/// kernels. Used by the thread that opened it.
///
/// System properties: `saccade.cuda.driver` chooses what talks to the driver, `ffm` (the default)
/// or `jcuda`; `saccade.cuda.library` names the driver's library where it is in no usual place;
/// `saccade.cuda.debug=true` waits after each launch, so that an error names the kernel that made
/// it.
public final class CudaDevice implements Device {
    private static final int FAULT_INDEX = 1;
    private static final int FAULT_NO_WORD = 2;
    private static final long FAULT_BYTES = 4 * Integer.BYTES;

    /// How many devices a thread has open and on which ordinal: a thread has one current context.
    private static final ThreadLocal<Use> USE = ThreadLocal.withInitial(Use::new);

    private static final class Use {
        int ordinal;
        int count;
    }

    private final CudaContext context;
    private final CudaProperties properties;
    private final int handle;
    private final Stream stream;
    private final CudaMemory memory;
    private final CudaStaging staging;
    private final PinnedBuffer fault;
    private final long faultAddress;
    private final Map<String, Program> programs = new HashMap<>();

    private CudaDevice(CudaContext context, CudaProperties properties, int handle) {
        this.context = context;
        this.properties = properties;
        this.handle = handle;
        stream = new Stream(context);
        memory = new CudaMemory(context, stream.handle());
        staging = new CudaStaging(context, stream);
        fault = new PinnedBuffer(context, FAULT_BYTES);
        fault.segment().fill((byte) 0);
        context.check(context.driver.cuMemAlloc(context.out, FAULT_BYTES), "cuMemAlloc");
        faultAddress = context.outLong();
        clearFault();
    }

    /// Looks for CUDA devices; never throws.
    public static CudaProbe probe() {
        CudaDrivers chosen = CudaDrivers.chosen();
        return chosen != null
                ? CudaProbe.take(chosen)
                : new CudaProbe(
                        "%s=%s names no binding: it can be %s"
                                .formatted(
                                        CudaDrivers.PROPERTY,
                                        System.getProperty(CudaDrivers.PROPERTY),
                                        CudaDrivers.CHOICES),
                        0,
                        "none",
                        List.of());
    }

    /// Checks that the property `saccade.cuda.driver` names a binding, so that a wrong name is not
    /// taken for a machine without a GPU.
    ///
    /// @throws InputException when it doesn't
    public static void requireKnownBinding() {
        requireBinding();
    }

    private static CudaDrivers requireBinding() {
        CudaDrivers chosen = CudaDrivers.chosen();
        if (chosen == null) {
            throw new InputException(
                    "property " + CudaDrivers.PROPERTY,
                    "'%s' names no binding".formatted(System.getProperty(CudaDrivers.PROPERTY)),
                    "use " + CudaDrivers.CHOICES);
        }
        return chosen;
    }

    /// Opens a device. The calling thread becomes the one that uses it; it can have other ordinals
    /// open only after it has closed this one.
    ///
    /// @throws InputException when there is no such device or it can't be used, saying why
    public static CudaDevice open(int ordinal) {
        CudaDrivers chosen = requireBinding();
        CudaProbe probe = CudaProbe.take(chosen);
        String name = "cuda:" + ordinal;
        String cure = "choose another device (--device cpu always works)";
        CudaProperties properties = null;
        for (CudaProperties device : probe.devices()) {
            properties = device.ordinal() == ordinal ? device : properties;
        }
        if (properties == null) {
            int count = probe.devices().size();
            throw new InputException(
                    name,
                    probe.reason() != null
                            ? probe.reason()
                            : "there %s, numbered from 0"
                                    .formatted(count == 1 ? "is 1 GPU" : "are " + count + " GPUs"),
                    cure);
        }
        String refusal = CudaProbe.refusal(properties);
        if (refusal != null) {
            throw new InputException(name, refusal, cure);
        }
        Use use = USE.get();
        if (use.count > 0 && use.ordinal != ordinal) {
            throw new IllegalStateException(
                    "thread '%s' works with cuda:%d: open %s in a thread of its own"
                            .formatted(Thread.currentThread().getName(), use.ordinal, name));
        }
        CudaContext context = new CudaContext(Objects.requireNonNull(chosen.driver()), name);
        CudaDriver driver = context.driver;
        context.check(driver.cuDeviceGet(context.out, ordinal), "cuDeviceGet");
        int handle = context.outInt();
        int code = driver.cuDevicePrimaryCtxRetain(context.out, handle);
        if (code != CudaDriver.SUCCESS) {
            context.close();
            throw new InputException(name, CudaProbe.words(driver, code), cure);
        }
        use.ordinal = ordinal;
        use.count++;
        boolean complete = false;
        try {
            context.check(driver.cuCtxSetCurrent(context.outLong()), "cuCtxSetCurrent");
            CudaDevice device = new CudaDevice(context, properties, handle);
            complete = true;
            return device;
        } finally {
            if (!complete) {
                context.close();
                leave(driver, handle);
            }
        }
    }

    /// Gives the context up. Errors don't matter any more.
    private static void leave(CudaDriver driver, int handle) {
        int _ = driver.cuDevicePrimaryCtxRelease(handle);
        Use use = USE.get();
        use.count--;
        if (use.count == 0) {
            int _ = driver.cuCtxSetCurrent(0);
        }
    }

    /// What the device is.
    public CudaProperties properties() {
        return properties;
    }

    /// The queue of all of this device's work.
    public Stream stream() {
        return stream;
    }

    /// A new event for timing and waiting.
    public Event event() {
        context.enterUnrecorded("an event");
        return new Event(context, stream, 0);
    }

    /// New page-locked host memory, which uploads and downloads use directly.
    public PinnedBuffer pinned(long bytes) {
        context.enterUnrecorded("pinned memory");
        if (bytes < 0) {
            throw new IllegalArgumentException("a pinned buffer of " + bytes + " bytes");
        }
        return new PinnedBuffer(context, bytes);
    }

    /// A new description of tiles in an array of `rank` dimensions, for kernels that use the tensor
    /// memory accelerator. It lives as long as the device.
    public TensorMap tensorMap(TensorMap.Element element, int rank) {
        context.enter();
        return new TensorMap(context, element, rank);
    }

    /// The program of this name, `<operation>/portable`; loaded at first use from the class path
    /// resource `META-INF/kernels/<name>.fatbin` and kept until the device closes.
    ///
    /// @throws InputException when the image is missing, damaged or not made for this device
    /// @throws CudaException when the driver fails otherwise
    public Program program(String name) {
        context.enter();
        Program program = programs.get(name);
        if (program == null) {
            program = load(name, MemorySegment.ofArray(image(name)));
            programs.put(name, program);
        }
        return program;
    }

    /// Loads a program from its image: a fatbin, a cubin or PTX. The caller closes it.
    ///
    /// @param name for messages
    /// @throws InputException when the image is damaged or not made for this device
    public Program load(String name, MemorySegment image) {
        context.enter();
        return new Program(context, stream, properties, name, image);
    }

    /// The image's bytes, through the thread's class loader or that of this class: the folder
    /// META-INF belongs to no package, so that no module encloses it.
    private static byte[] image(String name) {
        String resource = "META-INF/kernels/" + name + ".fatbin";
        ClassLoader threads = Thread.currentThread().getContextClassLoader();
        try (InputStream stream = open(resource, threads)) {
            if (stream == null) {
                throw new InputException(
                        "kernels " + name,
                        "this build has no CUDA kernels of that name (nvcc was not found when it"
                                + " was built)",
                        "build with a CUDA toolkit installed, or use --device cpu");
            }
            return stream.readAllBytes();
        } catch (IOException e) {
            throw new InputException(
                    "kernels " + name,
                    resource + " can't be read: " + e.getMessage(),
                    "build Saccade again",
                    e);
        }
    }

    private static @Nullable InputStream open(String resource, @Nullable ClassLoader first) {
        InputStream stream = first == null ? null : first.getResourceAsStream(resource);
        ClassLoader own = CudaDevice.class.getClassLoader();
        return stream != null || own == null ? stream : own.getResourceAsStream(resource);
    }

    /// The device address of an `int[4]` that kernels report a fault in: a kernel that meets an
    /// operand it can't use writes {kind, first, second, third} with an atomic compare-and-swap of
    /// element 0 from 0, writes nothing else, and returns. The next [#download] or [#synchronize]
    /// throws it as an IndexOutOfBoundsException and clears it. Kind 1: index `first` of a table of
    /// `second` rows; kind 2: row `first` of logits has no allowed word.
    public long faultAddress() {
        return faultAddress;
    }

    /// Brings the fault words to the host, behind all work so far.
    private void fetchFault() {
        context.check(
                context.driver.cuMemcpyDtoHAsync(
                        fault.segment(), faultAddress, FAULT_BYTES, stream.handle()),
                "cuMemcpyDtoHAsync");
    }

    private void clearFault() {
        context.check(
                context.driver.cuMemsetD8Async(
                        faultAddress, (byte) 0, FAULT_BYTES, stream.handle()),
                "cuMemsetD8Async");
    }

    /// Throws the fault that a kernel has reported before [#fetchFault()], if any. All work up to
    /// there has finished.
    private void throwFault() {
        MemorySegment words = fault.segment();
        int kind = words.get(ValueLayout.JAVA_INT, 0);
        if (kind == 0) {
            return;
        }
        int first = words.get(ValueLayout.JAVA_INT, 4);
        int second = words.get(ValueLayout.JAVA_INT, 8);
        int third = words.get(ValueLayout.JAVA_INT, 12);
        words.fill((byte) 0);
        clearFault();
        throw new IndexOutOfBoundsException(
                switch (kind) {
                    case FAULT_INDEX -> "index %d of a table of %d rows".formatted(first, second);
                    case FAULT_NO_WORD ->
                            "row %d of the logits has no allowed word".formatted(first);
                    default ->
                            "a kernel on %s reports fault %d (%d, %d, %d)"
                                    .formatted(name(), kind, first, second, third);
                });
    }

    @Override
    public String name() {
        return context.device;
    }

    @Override
    public DeviceBuffer allocate(long bytes) {
        context.enter();
        if (bytes < 0) {
            throw new IllegalArgumentException("a buffer of " + bytes + " bytes");
        }
        return new DeviceBuffer(this, memory.allocate(bytes), bytes);
    }

    void release(Block block) {
        if (context.isOpen()) {
            context.requireOwner();
            memory.release(block);
        }
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer target, long targetOffset) {
        context.enterUnrecorded("an upload");
        long address = target.address(this, targetOffset, source.byteSize());
        if (context.isPinned(source)) {
            context.check(
                    context.driver.cuMemcpyHtoDAsync(
                            address, source, source.byteSize(), stream.handle()),
                    "cuMemcpyHtoDAsync");
        } else {
            staging.upload(source, address);
        }
    }

    @Override
    public void upload(UploadSource source, long bytes, DeviceBuffer target, long targetOffset) {
        context.enterUnrecorded("an upload");
        staging.upload(source, bytes, target.address(this, targetOffset, bytes));
    }

    @Override
    public void download(DeviceBuffer source, long sourceOffset, MemorySegment target) {
        context.enterUnrecorded("a download");
        long address = source.address(this, sourceOffset, target.byteSize());
        if (target.byteSize() == 0) {
            synchronize();
        } else if (context.isPinned(target)) {
            context.check(
                    context.driver.cuMemcpyDtoHAsync(
                            target, address, target.byteSize(), stream.handle()),
                    "cuMemcpyDtoHAsync");
            synchronize();
        } else {
            fetchFault();
            staging.download(address, target, this::throwFault);
        }
    }

    @Override
    public void copy(
            DeviceBuffer source,
            long sourceOffset,
            DeviceBuffer target,
            long targetOffset,
            long bytes) {
        context.enter();
        long from = source.address(this, sourceOffset, bytes);
        long to = target.address(this, targetOffset, bytes);
        if (bytes > 0) {
            context.check(
                    context.driver.cuMemcpyDtoDAsync(to, from, bytes, stream.handle()),
                    "cuMemcpyDtoDAsync");
        }
    }

    @Override
    public void fill(DeviceBuffer target, long offset, long bytes, byte value) {
        context.enter();
        long address = target.address(this, offset, bytes);
        if (bytes > 0) {
            context.check(
                    context.driver.cuMemsetD8Async(address, value, bytes, stream.handle()),
                    "cuMemsetD8Async");
        }
    }

    @Override
    public Graph record(Runnable work) {
        return new Graph(context, stream, memory, work);
    }

    @Override
    public void synchronize() {
        context.enterUnrecorded("a synchronisation");
        fetchFault();
        stream.synchronize();
        throwFault();
    }

    @Override
    public MemoryStatistics memory() {
        return memory.statistics();
    }

    /// Waits for the device, closes what was made on it and is still open, and frees all memory.
    @Override
    public void close() {
        if (!context.isOpen()) {
            return;
        }
        context.requireOwner();
        staging.close();
        CudaDriver driver = context.driver;
        int _ = driver.cuStreamSynchronize(stream.handle());
        int _ = driver.cuMemFree(faultAddress);
        memory.close();
        context.close();
        leave(driver, handle);
    }
}
