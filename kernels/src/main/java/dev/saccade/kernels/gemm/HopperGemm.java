package dev.saccade.kernels.gemm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.gemm.CudaTile.Form;
import java.util.HashMap;
import java.util.Map;

/// The product of bf16 operands on Hopper: `gemm/hopper.cu` and `gemm/hopper_few.cu`. Every kernel
/// gives an element the same bits; the shape decides which one runs.
final class HopperGemm {
    private static final int PITCH_BYTES = 16;
    private static final int BYTES = 2;

    private final CudaDevice cuda;
    private final Choice choice;
    private final int mostClusters;
    private final Map<String, Loaded> kernels = new HashMap<>();
    private final TensorMap a;
    private final TensorMap b;
    private final TensorMap bUp;
    private final Outputs outputs;

    /// Chooses a product's tile.
    interface Choice {
        /// The tile.
        HopperTile tile(Form form, boolean fromC, boolean plain, int m, int n, int k);
    }

    /// @param clusters how many the device runs at once
    private record Loaded(Kernel kernel, int clusters) {}

    /// C and what belongs to it, each [m, n] in bf16.
    private static final class Outputs {
        private final TensorMap c;
        private final TensorMap residual;
        private final TensorMap kept;
        private final TensorMap keptUp;

        Outputs(CudaDevice cuda) {
            c = cuda.tensorMap(TensorMap.Element.BFLOAT16, 2);
            residual = cuda.tensorMap(TensorMap.Element.BFLOAT16, 2);
            kept = cuda.tensorMap(TensorMap.Element.BFLOAT16, 2);
            keptUp = cuda.tensorMap(TensorMap.Element.BFLOAT16, 2);
        }

        /// Gives a kernel the maps; in the place of what is absent, `absent`.
        void give(
                Kernel launch,
                TensorMap absent,
                int rowBytes,
                int m,
                int n,
                long to,
                Finish finish) {
            give(launch, absent, rowBytes, m, n, c, to);
            give(launch, absent, rowBytes, m, n, residual, finish.residual());
            give(launch, absent, rowBytes, m, n, kept, finish.kept());
            give(launch, absent, rowBytes, m, n, keptUp, finish.keptUp());
        }

        private void give(
                Kernel launch,
                TensorMap absent,
                int rowBytes,
                int m,
                int n,
                TensorMap map,
                long address) {
            if (address == 0) {
                launch.tensorMap(absent);
                return;
            }
            map.address(address)
                    .dimension(0, n, rowBytes / BYTES)
                    .dimension(1, m, (long) n * BYTES, HopperTile.STORED_ROWS)
                    .swizzle(
                            switch (rowBytes) {
                                case 128 -> TensorMap.Swizzle.B128;
                                case 64 -> TensorMap.Swizzle.B64;
                                default -> TensorMap.Swizzle.NONE;
                            })
                    .encode();
            launch.tensorMap(map);
        }
    }

    HopperGemm(CudaDevice cuda) {
        this(
                cuda,
                (form, fromC, plain, m, n, k) ->
                        HopperTile.choose(
                                form, fromC, plain, m, n, k, cuda.properties().multiprocessors()),
                Integer.MAX_VALUE);
    }

    /// @param mostClusters clusters of blocks that are launched at most; few of them compute many
    ///   tiles each
    HopperGemm(CudaDevice cuda, Choice choice, int mostClusters) {
        this.cuda = cuda;
        this.choice = choice;
        this.mostClusters = mostClusters;
        a = matrix();
        b = matrix();
        bUp = matrix();
        outputs = new Outputs(cuda);
    }

    private TensorMap matrix() {
        return cuda.tensorMap(TensorMap.Element.BFLOAT16, 2)
                .swizzle(TensorMap.Swizzle.B128)
                .promotion(TensorMap.Promotion.B256);
    }

    /// Whether a device has what these kernels need.
    static boolean runsOn(CudaDevice cuda) {
        return cuda.properties().computeMajor() == 9;
    }

    /// Whether TMA can fetch the operands: rows begin on 16 bytes if the matrices do. It depends on
    /// what a layer is, not on how many rows go through it.
    static boolean takes(Form form, int m, int n, int k) {
        int pitchA = form == Form.TN ? m : k;
        int pitchB = form.isLayer() ? k : n;
        return k > 0 && (pitchA * BYTES | pitchB * BYTES) % PITCH_BYTES == 0;
    }

    /// @param from A's address, a multiple of 16, as are `by` and `byUp`
    void launch(
            Form form,
            int m,
            int n,
            int k,
            long from,
            long by,
            long byUp,
            long to,
            Finish finish,
            boolean wide,
            boolean vector) {
        boolean biased = form == Form.NT && !wide && !finish.fromC();
        boolean plain =
                vector && finish.kind() <= Finish.ACCUMULATE && (finish.bias() == 0 || biased);
        HopperTile tile = choice.tile(form, finish.fromC(), plain, m, n, k);
        Loaded loaded = loaded(tile, form, finish.fromC());
        if (form == Form.TN) {
            across(a, from, m, k);
        } else {
            along(a, from, m, k, tile.fetchRows());
        }
        if (form.isLayer()) {
            along(b, by, n, k, tile.fetchColumns(form));
        } else {
            across(b, by, n, k);
        }
        if (form == Form.SWI_GLU) {
            along(bUp, byUp, n, k, tile.fetchColumns(form));
        }
        int most = Math.min(loaded.clusters, mostClusters);
        long clusters = Math.min(most, tile.clusters(form, m, n));
        Kernel launch = loaded.kernel.begin();
        launch.tensorMap(a).tensorMap(b).tensorMap(form == Form.SWI_GLU ? bUp : b);
        if (!tile.isFew()) {
            // Only bf16 goes by TMA, and only where rows begin on 16 bytes.
            boolean stored = vector && !wide;
            int rowBytes = tile.storeBytes(form);
            long stores = stored ? to : 0;
            outputs.give(launch, a, rowBytes, m, n, stores, stored ? finish : Finish.NONE);
        }
        launch.pointer(to)
                .pointer(finish.bias())
                .pointer(finish.scale())
                .pointer(finish.residual())
                .pointer(finish.kept())
                .pointer(finish.keptUp())
                .int32(m)
                .int32(n)
                .int32(k)
                .int32(finish.kind())
                .int32(wide ? 1 : 0)
                .int32(vector ? 1 : 0)
                .launch(
                        Math.toIntExact(clusters) * tile.cluster(),
                        1,
                        1,
                        tile.threads(),
                        tile.sharedBytes(form));
    }

    /// A matrix [lines, k] whose k lies side by side.
    private static void along(TensorMap map, long address, int lines, int k, int boxLines) {
        map.address(address)
                .dimension(0, k, HopperTile.DEPTH)
                .dimension(1, lines, (long) k * BYTES, boxLines)
                .encode();
    }

    /// A matrix [k, lines] whose lines lie side by side.
    private static void across(TensorMap map, long address, int lines, int k) {
        map.address(address)
                .dimension(0, lines, HopperTile.DEPTH)
                .dimension(1, k, (long) lines * BYTES, HopperTile.DEPTH)
                .encode();
    }

    private Loaded loaded(HopperTile tile, Form form, boolean fromC) {
        String name = tile.kernel(form, fromC);
        Loaded loaded = kernels.get(name);
        if (loaded == null) {
            Kernel kernel = cuda.program(tile.program()).kernel(name);
            int clusters;
            if (tile.cluster() > 1) {
                kernel.cluster(tile.cluster(), 1, 1);
                clusters = kernel.activeClusters(tile.threads(), tile.sharedBytes(form));
            } else {
                clusters =
                        cuda.properties().multiprocessors()
                                * kernel.blocksPerMultiprocessor(
                                        tile.threads(), tile.sharedBytes(form));
            }
            loaded = new Loaded(kernel, clusters);
            kernels.put(name, loaded);
        }
        return loaded;
    }
}
