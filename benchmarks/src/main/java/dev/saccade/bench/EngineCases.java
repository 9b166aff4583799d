package dev.saccade.bench;

import dev.saccade.bench.PreparedCase.Clock;
import dev.saccade.bench.PreparedCase.Rival;
import dev.saccade.bench.peer.BareCopy;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.InputException;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.PinnedBuffer;
import dev.saccade.engine.Program;
import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;

/// What the engine itself costs: launches, replays, memory, copies.
final class EngineCases {
    private static final String DRIVER = "saccade.cuda.driver";

    /// Kernels that return at once, as PTX, which every driver compiles: they need no compiler here
    /// and no file in the jar.
    private static final String PTX =
            """
            .version 7.0
            .target sm_80
            .address_size 64
            .visible .entry null_kernel() { ret; }
            .visible .entry twelve_arguments(
                .param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3,
                .param .u32 p4, .param .u32 p5, .param .u32 p6, .param .u32 p7,
                .param .u64 p8, .param .u64 p9, .param .f32 p10, .param .f32 p11) { ret; }
            """;

    private EngineCases() {}

    private static CudaDevice cuda(Workbench bench) {
        if (bench.device() instanceof CudaDevice cuda) {
            return cuda;
        }
        throw new UnsupportedOperationException("measured on CUDA devices only");
    }

    /// `op=copy bytes`: the driver's copy on the device, whose bandwidth others are compared with.
    static PreparedCase copy(Case work, Workbench bench) {
        int count = work.integer("bytes") / 4;
        Operand source = bench.normal(DType.F32, count, 1);
        Operand target = bench.empty(DType.F32, count, 1);
        return PreparedCase.of(
                0,
                8.0 * count,
                1,
                _ ->
                        bench.device()
                                .copy(
                                        source.set(0).buffer(),
                                        0,
                                        target.set(0).buffer(),
                                        0,
                                        4L * count),
                () -> bench.reset(target),
                () -> {
                    for (int sample = 0; sample < 32; sample++) {
                        long at = bench.draw((long) count);
                        bench.require(
                                "copy[" + at + "]",
                                DType.F32,
                                bench.read(target.set(0), at),
                                source.value(at),
                                0,
                                0);
                    }
                },
                null);
    }

    /// `op=launch arguments=0|12`: the host's time for queueing one kernel that does nothing,
    /// beside the same through JCuda.
    static PreparedCase launch(Case work, Workbench bench) {
        CudaDevice device = cuda(bench);
        boolean withArguments = work.integer("arguments") > 0;
        List<Rival> rivals = new ArrayList<>();
        String before = System.getProperty(DRIVER);
        try {
            System.setProperty(DRIVER, "jcuda");
            CudaDevice other = CudaDevice.open(device.properties().ordinal());
            bench.closeLater(other);
            rivals.add(new Rival("jcuda", launcher(bench, other, withArguments)));
        } catch (InputException _) {
            // JCuda is optional: without it there is nothing to compare with.
        } finally {
            if (before == null) {
                System.clearProperty(DRIVER);
            } else {
                System.setProperty(DRIVER, before);
            }
        }
        return hostCase(0, Clock.SUBMISSION, launcher(bench, device, withArguments), rivals);
    }

    private static IntConsumer launcher(Workbench bench, CudaDevice device, boolean withArguments) {
        Program program = device.load("launches", ptx());
        bench.closeLater(program);
        Kernel kernel = program.kernel(withArguments ? "twelve_arguments" : "null_kernel");
        if (!withArguments) {
            return _ -> kernel.begin().launch(1, 32);
        }
        return set ->
                kernel.begin()
                        .pointer(0)
                        .pointer(0)
                        .pointer(0)
                        .pointer(0)
                        .int32(set)
                        .int32(1)
                        .int32(2)
                        .int32(3)
                        .int64(4)
                        .int64(5)
                        .float32(6)
                        .float32(7)
                        .launch(1, 32);
    }

    private static MemorySegment ptx() {
        return MemorySegment.ofArray(PTX.getBytes(StandardCharsets.US_ASCII));
    }

    /// `op=replay launches`: the device's time of a recorded graph of so many launches, beside that
    /// of the same launches one by one.
    static PreparedCase replay(Case work, Workbench bench) {
        CudaDevice device = cuda(bench);
        int launches = work.integer("launches");
        IntConsumer launcher = launcher(bench, device, true);
        Replay replay =
                device.record(() -> {
                    for (int i = 0; i < launches; i++) {
                        launcher.accept(i);
                    }
                });
        bench.closeLater(replay);
        IntConsumer one = _ -> replay.run();
        return new PreparedCase(
                0,
                0,
                1,
                Clock.DEVICE,
                one,
                () -> {},
                () -> {},
                null,
                List.of(
                        new Rival(
                                "launched singly",
                                _ -> {
                                    for (int i = 0; i < launches; i++) {
                                        launcher.accept(i);
                                    }
                                })));
    }

    /// `op=allocate bytes`: a buffer taken from the pool and given back, once it has been there.
    static PreparedCase allocate(Case work, Workbench bench) {
        long bytes = work.integer("bytes");
        return hostCase(
                0,
                Clock.SUBMISSION,
                _ -> {
                    try (DeviceBuffer buffer = bench.device().allocate(bytes)) {
                        if (!buffer.isOpen()) {
                            throw new IllegalStateException("no buffer");
                        }
                    }
                },
                List.of());
    }

    /// `op=upload bytes memory=pinned|pageable`: beside the driver's blocking copy of the same host
    /// memory.
    static PreparedCase upload(Case work, Workbench bench) {
        return transfer(work, bench, true);
    }

    /// `op=download bytes memory=pinned|pageable`.
    static PreparedCase download(Case work, Workbench bench) {
        return transfer(work, bench, false);
    }

    private static PreparedCase transfer(Case work, Workbench bench, boolean up) {
        CudaDevice device = cuda(bench);
        int bytes = work.integer("bytes");
        Operand operand = bench.normal(DType.F32, bytes / 4, 1);
        Span span = operand.set(0);
        MemorySegment host = host(work, bench, device, bytes);
        host.fill((byte) 1);
        IntConsumer run =
                up
                        ? _ -> {
                            device.upload(host, span.buffer(), 0);
                            device.synchronize();
                        }
                        : _ -> device.download(span.buffer(), 0, host);
        BareCopy bare = BareCopy.open();
        List<Rival> rivals =
                bare == null
                        ? List.of()
                        : List.of(
                                new Rival(
                                        "cuMemcpy",
                                        up
                                                ? _ -> bare.upload(span.address(), host)
                                                : _ -> bare.download(host, span.address())));
        return new PreparedCase(
                0,
                bytes,
                1,
                Clock.ROUND_TRIP,
                run,
                () -> bench.reset(operand),
                () -> {
                    int at = 4 * (int) bench.draw(bytes / 4);
                    float exact =
                            up
                                    ? host.get(ValueLayout.JAVA_FLOAT, at)
                                    : (float) operand.value(at / 4);
                    double got =
                            up ? bench.read(span, at / 4) : host.get(ValueLayout.JAVA_FLOAT, at);
                    bench.require("element " + at / 4, DType.F32, got, exact, 0, 0);
                },
                null,
                rivals);
    }

    private static MemorySegment host(Case work, Workbench bench, CudaDevice device, long bytes) {
        if (work.text("memory").equals("pinned")) {
            PinnedBuffer pinned = device.pinned(bytes);
            bench.closeLater(pinned);
            return pinned.segment();
        }
        return Arena.ofAuto().allocate(bytes, 64);
    }

    private static PreparedCase hostCase(
            double bytes, Clock clock, IntConsumer run, List<Rival> rivals) {
        return new PreparedCase(0, bytes, 1, clock, run, () -> {}, () -> {}, null, rivals);
    }
}
