package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.Structs;
import java.lang.foreign.Arena;

/// A CUDA graph: device work that was captured from the stream instead of run, made executable, and
/// submitted as a whole at each [#run()]. See [Device#record(Runnable)].
public final class Graph implements Replay, CudaContext.Resource {
    private final CudaContext context;
    private final Stream stream;
    private final CudaMemory memory;
    private long executable;
    private CudaMemory.Reservation reservation;
    private long nodes;
    private boolean open = true;

    /// Something captured and not yet executable.
    private record Capture(long graph, CudaMemory.Reservation reservation) {}

    Graph(CudaContext context, Stream stream, CudaMemory memory, Runnable work) {
        this.context = context;
        this.stream = stream;
        this.memory = memory;
        Capture capture = capture(work);
        try {
            nodes = nodes(capture);
            executable = instantiate(capture);
        } catch (CudaException e) {
            capture.reservation().close();
            throw e;
        } finally {
            destroy(capture);
        }
        reservation = capture.reservation();
        context.resources.add(this);
    }

    private Capture capture(Runnable work) {
        context.enterUnrecorded("a recording");
        // Nothing is under way during the capture: errors of earlier work are not blamed on it, and
        // memory that the pool gives back to the driver meanwhile is in nobody's use.
        context.check(context.driver.cuStreamSynchronize(stream.handle()), "cuStreamSynchronize");
        context.check(
                context.driver.cuStreamBeginCapture(
                        stream.handle(), CudaDriver.STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "cuStreamBeginCapture");
        CudaMemory.Reservation reserved = memory.reserve();
        context.recording(true);
        boolean complete = false;
        try {
            work.run();
            complete = true;
        } finally {
            context.recording(false);
            reserved.seal();
            if (!complete) {
                abandon(reserved);
            }
        }
        int code = context.driver.cuStreamEndCapture(stream.handle(), context.out);
        if (code != CudaDriver.SUCCESS) {
            reserved.close();
            throw context.failure(code, "cuStreamEndCapture", null, null, "");
        }
        return new Capture(context.outLong(), reserved);
    }

    /// Ends a capture whose work has thrown. What the driver says of it does not matter.
    private void abandon(CudaMemory.Reservation reserved) {
        int code = context.driver.cuStreamEndCapture(stream.handle(), context.out);
        if (code == CudaDriver.SUCCESS) {
            int _ = context.driver.cuGraphDestroy(context.outLong());
        }
        reserved.close();
    }

    private long nodes(Capture capture) {
        context.check(
                context.driver.cuGraphGetNodes(capture.graph(), context.out), "cuGraphGetNodes");
        return context.outLong();
    }

    private long instantiate(Capture capture) {
        context.check(
                context.driver.cuGraphInstantiate(context.out, capture.graph()),
                "cuGraphInstantiate");
        return context.outLong();
    }

    private void destroy(Capture capture) {
        int _ = context.driver.cuGraphDestroy(capture.graph());
    }

    /// The kernels, copies and fills that a run consists of.
    public long nodes() {
        return nodes;
    }

    /// Records anew and puts the result in this graph's place. Where only arguments, grids and
    /// addresses differ, the executable graph is changed as it is, which is many times faster than
    /// making one. When `work` throws, the graph stays as it was.
    ///
    /// @return whether the executable graph could be kept
    public boolean update(Runnable work) {
        requireOpen();
        Capture capture = capture(work);
        long newNodes;
        boolean kept;
        try (Arena scratch = Arena.ofConfined()) {
            newNodes = nodes(capture);
            int code =
                    context.driver.cuGraphExecUpdate(
                            executable,
                            capture.graph(),
                            scratch.allocate(Structs.GRAPH_EXEC_UPDATE_RESULT_INFO));
            kept = code != CudaDriver.GRAPH_EXEC_UPDATE_FAILURE;
            if (kept) {
                context.check(code, "cuGraphExecUpdate");
            } else {
                long successor = instantiate(capture);
                int _ = context.driver.cuGraphExecDestroy(executable);
                executable = successor;
            }
        } catch (CudaException e) {
            capture.reservation().close();
            throw e;
        } finally {
            destroy(capture);
        }
        reservation.close();
        reservation = capture.reservation();
        nodes = newNodes;
        return kept;
    }

    @Override
    public void run() {
        requireOpen();
        context.enterUnrecorded("a replay");
        context.check(context.driver.cuGraphLaunch(executable, stream.handle()), "cuGraphLaunch");
        if (context.debug) {
            int code = context.driver.cuStreamSynchronize(stream.handle());
            if (code != CudaDriver.SUCCESS) {
                throw context.failure(
                        code,
                        "cuStreamSynchronize after a replay of " + nodes + " nodes",
                        null,
                        null,
                        "");
            }
        }
    }

    private void requireOpen() {
        if (!open) {
            throw new IllegalStateException("the recording is closed");
        }
    }

    @Override
    public void close() {
        if (open) {
            context.requireOwner();
            open = false;
            if (context.isOpen()) {
                context.resources.remove(this);
                int _ = context.driver.cuGraphExecDestroy(executable);
                reservation.close();
            }
        }
    }
}
