package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Compiled device code with its kernels: one fatbin, loaded into a device.
public final class Program implements CudaContext.Resource {
    private final CudaContext context;
    private final Stream stream;
    private final CudaProperties properties;
    private final String name;
    private final long library;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private boolean open = true;

    /// @param image a fatbin, a cubin or PTX
    Program(
            CudaContext context,
            Stream stream,
            CudaProperties properties,
            String name,
            MemorySegment image) {
        this.context = context;
        this.stream = stream;
        this.properties = properties;
        this.name = name;
        int mode = context.relax();
        try (Arena arena = Arena.ofConfined()) {
            // PTX is read up to a zero byte; the driver keeps a copy of its own.
            MemorySegment padded = arena.allocate(image.byteSize() + 1, 64);
            padded.copyFrom(image);
            check(context.driver.cuLibraryLoadData(context.out, padded), "cuLibraryLoadData");
            library = context.outLong();
            context.resources.add(this);
        } finally {
            context.restrict(mode);
        }
    }

    /// Turns the driver's refusals of an image into what a user can do about them.
    private void check(int code, String call) {
        String what = "kernels " + name;
        String capability = properties.computeMajor() + "." + properties.computeMinor();
        switch (code) {
            case CudaDriver.SUCCESS -> {}
            case CudaDriver.INVALID_IMAGE, CudaDriver.INVALID_SOURCE, CudaDriver.INVALID_PTX ->
                    throw new InputException(
                            what,
                            "the image is damaged (%s)".formatted(context.driver.errorName(code)),
                            "build them again");
            case CudaDriver.NO_BINARY_FOR_GPU ->
                    throw new InputException(
                            what,
                            "no image for compute capability %s of %s (%s)"
                                    .formatted(
                                            capability,
                                            properties.name(),
                                            context.driver.errorName(code)),
                            "build them for it (nvcc -gencode)");
            case CudaDriver.UNSUPPORTED_PTX_VERSION,
                    CudaDriver.JIT_COMPILER_NOT_FOUND,
                    CudaDriver.JIT_COMPILATION_DISABLED ->
                    throw new InputException(
                            what,
                            "no machine code for compute capability %s, and the driver can't compile the PTX (%s)"
                                    .formatted(capability, context.driver.errorName(code)),
                            "update NVIDIA's driver, or build them for this GPU (nvcc -gencode)");
            default -> context.check(code, call);
        }
    }

    /// The name it was loaded under, e.g. `norm/portable`.
    public String name() {
        return name;
    }

    /// The kernel of this name (`extern "C"`); the same object each time.
    ///
    /// @throws CudaException when the program has none
    public Kernel kernel(String kernelName) {
        context.enter();
        if (!open) {
            throw new IllegalStateException("program " + name + " is closed");
        }
        Kernel kernel = kernels.get(kernelName);
        if (kernel == null) {
            int mode = context.relax();
            try {
                kernel = load(kernelName);
            } finally {
                context.restrict(mode);
            }
            kernels.put(kernelName, kernel);
        }
        return kernel;
    }

    private Kernel load(String kernelName) {
        CudaDriver driver = context.driver;
        int code = driver.cuLibraryGetKernel(context.out, library, kernelName);
        if (code == CudaDriver.NOT_FOUND) {
            throw context.failure(
                    code,
                    "cuLibraryGetKernel",
                    null,
                    null,
                    "; program " + name + " has no kernel " + kernelName);
        }
        check(code, "cuLibraryGetKernel");
        check(driver.cuKernelGetFunction(context.out, context.outLong()), "cuKernelGetFunction");
        long function = context.outLong();
        check(driver.cuFuncLoad(function), "cuFuncLoad");
        return new Kernel(context, stream, properties, kernelName, function);
    }

    /// What was loaded for each kernel asked for so far, by name.
    public List<Kernel.Image> describe() {
        context.enter();
        List<Kernel.Image> images = new ArrayList<>();
        kernels.values().forEach(kernel -> images.add(kernel.image()));
        images.sort(Comparator.comparing(Kernel.Image::name));
        return images;
    }

    /// Unloads the code; its kernels may not be launched again. A program that
    /// [CudaDevice#program(String)] gave is shared and closed by the device.
    @Override
    public void close() {
        if (open) {
            context.requireOwner();
            open = false;
            if (context.isOpen()) {
                context.resources.remove(this);
                int _ = context.driver.cuLibraryUnload(library);
            }
        }
    }
}
