package dev.saccade.bench.peer;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// cuDNN 9 through the Foreign Function & Memory API: scaled dot-product attention, forward, as a
/// graph of its operations that cuDNN fuses into one kernel. (Its backward pass is measured through
/// PyTorch, `benchmarks/peers/torch_peers.py`.)
final class CudnnPeer implements Peer {
    static final String PROPERTY = "saccade.cudnn";
    static final String VARIABLE = "SACCADE_CUDNN";
    static final List<String> SONAMES = List.of("libcudnn.so.9");

    private static final long Q = 1;
    private static final long K = 2;
    private static final long V = 3;
    private static final long O = 4;
    private static final long STATISTICS = 5;
    private static final long SCALE = 6;
    private static final long MASKED = 7;

    private final CudaDevice device;
    private final Cudnn cudnn;
    private final String version;
    private final long handle;

    private CudnnPeer(CudaDevice device, Cudnn cudnn, String version, long handle) {
        this.device = device;
        this.cudnn = cudnn;
        this.version = version;
        this.handle = handle;
    }

    /// The library; null where there is none. Its engines ask for CUDA's compiler and cuBLAS by
    /// name when they are used, so those are loaded first.
    static @Nullable Library load() {
        Library.preload(
                "libnvrtc.so.13",
                "libnvrtc.so.12",
                "libcublasLt.so.13",
                "libcublasLt.so.12",
                "libcublas.so.13",
                "libcublas.so.12");
        return Library.open(SONAMES, NativeLibraries.choice(PROPERTY, VARIABLE));
    }

    /// What was looked for, when there is none.
    static String tried() {
        return Library.tried(SONAMES, PROPERTY, VARIABLE);
    }

    /// 9.24.0 for 92400.
    static String text(long version) {
        return version / 10000 + "." + version / 100 % 100 + "." + version % 100;
    }

    /// The library on `device`, or why it can't be used. The device's thread calls.
    static Peer open(CudaDevice device) {
        Library library = load();
        if (library == null) {
            return new Refused("cudnn", tried());
        }
        try (Arena arena = Arena.ofConfined()) {
            Cudnn cudnn = new Cudnn(library);
            String version = "cuDNN " + text(cudnn.version()) + ", " + library.path();
            MemorySegment out = arena.allocate(JAVA_LONG);
            int status = cudnn.create(out);
            if (status == 0) {
                status = cudnn.setStream(out.get(JAVA_LONG, 0), device.stream().handle());
            }
            return status == 0
                    ? new CudnnPeer(device, cudnn, version, out.get(JAVA_LONG, 0))
                    : new Refused("cudnn", version + ": " + cudnn.statusText(status));
        } catch (UnsatisfiedLinkError e) {
            return new Refused("cudnn", String.valueOf(e.getMessage()));
        }
    }

    @Override
    public String name() {
        return "cudnn";
    }

    @Override
    public @Nullable String refusal() {
        return null;
    }

    @Override
    public String version() {
        return version;
    }

    @Override
    public Call prepare(Work work, long[] addresses) {
        if (!(work instanceof Work.Attend attend)) {
            throw new UnsupportedOperationException("the adapter has attention only");
        }
        AttentionCall call = new AttentionCall(attend);
        try {
            call.plan();
            call.run(addresses); // a refusal shows here
            return call;
        } catch (UnsupportedOperationException e) {
            call.close();
            throw e;
        }
    }

    @Override
    public void close() {
        int _ = cudnn.destroy(handle);
    }

    /// Puts attention together: `S = scale q k'`, the causal mask, the softmax over the last
    /// dimension with its statistics `max + log sum`, and `o = P v`. cuDNN recognises the whole.
    ///
    /// @return the identities of the tensors that an execution gives addresses for
    static long[] attention(CudnnGraph graph, Work.Attend work) {
        long batch = work.batch();
        long heads = work.heads();
        long queries = work.queries();
        long keys = work.keys();
        long width = work.headDim();
        long[] queryDimensions = {batch, heads, queries, width};
        long[] queryStrides = {queries * heads * width, width, heads * width, 1};
        long kvHeads = work.kvHeads();
        long keyPitch = kvHeads * width;
        long q = graph.tensor(Q, Cudnn.DATA_BFLOAT16, queryDimensions, queryStrides);
        long transposedK =
                graph.tensor(
                        K,
                        Cudnn.DATA_BFLOAT16,
                        new long[] {batch, kvHeads, width, keys},
                        new long[] {keys * keyPitch, width, 1, keyPitch});
        long v =
                graph.tensor(
                        V,
                        Cudnn.DATA_BFLOAT16,
                        new long[] {batch, kvHeads, keys, width},
                        new long[] {keys * keyPitch, width, keyPitch, 1});
        long o = graph.tensor(O, Cudnn.DATA_BFLOAT16, queryDimensions, queryStrides);
        long statistics =
                graph.tensor(
                        STATISTICS,
                        Cudnn.DATA_FLOAT,
                        new long[] {batch, heads, queries, 1},
                        new long[] {heads * queries, queries, 1, 1});
        long scale = graph.scalar(SCALE);

        int number = Cudnn.DATA_FLOAT;
        long products = graph.between(number, batch, heads, queries, keys);
        graph.matmul(q, transposedK, products);
        long scores = graph.between(number, batch, heads, queries, keys);
        graph.pointwise(Cudnn.POINTWISE_MUL, number, products, scale, scores);
        if (work.causal()) {
            long masked = graph.scalar(MASKED);
            long row = graph.between(Cudnn.DATA_INT32, batch, heads, queries, keys);
            graph.index(2, scores, row);
            long column = graph.between(Cudnn.DATA_INT32, batch, heads, queries, keys);
            graph.index(3, scores, column);
            long visible = graph.between(Cudnn.DATA_BOOLEAN, batch, heads, queries, keys);
            graph.pointwise(Cudnn.POINTWISE_CMP_GE, Cudnn.DATA_BOOLEAN, row, column, visible);
            long seen = graph.between(number, batch, heads, queries, keys);
            graph.select(visible, scores, masked, seen);
            scores = seen;
        }
        long largest = graph.between(number, batch, heads, queries, 1);
        graph.reduce(Cudnn.REDUCE_TENSOR_MAX, scores, largest);
        long shifted = graph.between(number, batch, heads, queries, keys);
        graph.pointwise(Cudnn.POINTWISE_SUB, number, scores, largest, shifted);
        long powers = graph.between(number, batch, heads, queries, keys);
        graph.pointwise(Cudnn.POINTWISE_EXP, number, shifted, powers);
        long sum = graph.between(number, batch, heads, queries, 1);
        graph.reduce(Cudnn.REDUCE_TENSOR_ADD, powers, sum);
        long logarithm = graph.between(number, batch, heads, queries, 1);
        graph.pointwise(Cudnn.POINTWISE_LOG, number, sum, logarithm);
        graph.pointwise(Cudnn.POINTWISE_ADD, number, largest, logarithm, statistics);
        long probabilities = graph.between(Cudnn.DATA_BFLOAT16, batch, heads, queries, keys);
        graph.pointwise(Cudnn.POINTWISE_DIV, number, powers, sum, probabilities);
        graph.matmul(probabilities, v, o);
        return work.causal()
                ? new long[] {Q, K, V, O, STATISTICS, SCALE, MASKED}
                : new long[] {Q, K, V, O, STATISTICS, SCALE};
    }

    /// One attention and its plan.
    private final class AttentionCall implements Call {
        private final CudnnGraph graph = new CudnnGraph(cudnn);
        private final Work.Attend work;
        private final MemorySegment scale;
        private final MemorySegment masked;
        private final Map<Long, Long> packs = new HashMap<>();
        private long[] ids = {};
        private long plan;
        private @Nullable DeviceBuffer workspace;

        AttentionCall(Work.Attend work) {
            this.work = work;
            scale = graph.number(work.scale());
            masked = graph.number(-Float.MAX_VALUE);
        }

        void plan() {
            ids = attention(graph, work);
            plan = graph.plan(handle, graph.graph(handle));
            workspace = device.allocate(Math.max(graph.workspaceBytes(plan), 1));
        }

        @Override
        public void run(long[] addresses) {
            Long pack = packs.get(addresses[0]);
            if (pack == null) {
                pack = pack(addresses);
                packs.put(addresses[0], pack);
            }
            graph.check(cudnn.execute(handle, plan, pack), "cudnnBackendExecute");
        }

        private long pack(long[] addresses) {
            long[] all = Arrays.copyOf(addresses, ids.length);
            all[5] = scale.address();
            if (work.causal()) {
                all[6] = masked.address();
            }
            DeviceBuffer buffer = workspace;
            return graph.variantPack(ids, all, buffer == null ? 0 : buffer.address());
        }

        @Override
        public void close() {
            graph.close();
            if (workspace != null) {
                workspace.close();
            }
        }
    }
}
