package dev.saccade.bench.peer;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.gemm.Gemm;
import java.util.List;
import jcuda.Pointer;
import jcuda.jcublas.JCublas2;
import jcuda.jcublas.cublasHandle;
import org.jspecify.annotations.Nullable;

/// cuBLAS 12 through JCublas2 12.6: GemmEx. JCublas2 is linked against libcublas.so.12; where there
/// is cuBLAS 13 only, it is refused.
final class JCublasPeer implements Peer {
    private static final String SONAME = "libcublas.so.12";
    private static final String PROPERTY = "saccade.cublas12";
    private static final String VARIABLE = "SACCADE_CUBLAS12";

    /// cublasOperation_t, cudaDataType, cublasComputeType_t and cublasGemmAlgo_t of cublas_api.h
    /// and library_types.h.
    private static final int CUBLAS_OP_N = 0;

    private static final int CUBLAS_OP_T = 1;
    private static final int CUBLAS_COMPUTE_32F = 68;
    private static final int CUBLAS_GEMM_DEFAULT = -1;

    private static final long WORKSPACE_BYTES = 64L << 20;

    private final cublasHandle handle;
    private final String version;
    private final DeviceBuffer workspace;

    private JCublasPeer(CudaDevice device, cublasHandle handle, String version) {
        this.handle = handle;
        this.version = version;
        workspace = device.allocate(WORKSPACE_BYTES);
        check(JCublas2.cublasSetStream(handle, JCudaPointers.stream(device)), "cublasSetStream");
        check(
                JCublas2.cublasSetWorkspace(
                        handle, JCudaPointers.of(workspace.address()), WORKSPACE_BYTES),
                "cublasSetWorkspace");
    }

    /// The library on `device`, or why it can't be used. The device's thread calls.
    static Peer open(CudaDevice device) {
        // JCuda's library asks for the soname only: it is found when it is loaded already.
        Library library = Library.open(List.of(SONAME), NativeLibraries.choice(PROPERTY, VARIABLE));
        if (library == null) {
            return new Refused(
                    "jcublas",
                    "JCublas2 12.6 needs CUDA 12's cuBLAS: "
                            + Library.tried(List.of(SONAME), PROPERTY, VARIABLE));
        }
        try {
            JCublas2.setExceptionsEnabled(false);
            cublasHandle handle = new cublasHandle();
            int status = JCublas2.cublasCreate(handle);
            if (status != 0) {
                return new Refused("jcublas", "cublasCreate fails with status " + status);
            }
            int[] number = new int[1];
            int _ = JCublas2.cublasGetVersion(handle, number);
            return new JCublasPeer(
                    device,
                    handle,
                    "cuBLAS %d.%d.%d through JCublas2 12.6.0, %s"
                            .formatted(
                                    number[0] / 10000,
                                    number[0] / 100 % 100,
                                    number[0] % 100,
                                    library.path()));
        } catch (LinkageError | UnsupportedOperationException e) {
            return new Refused("jcublas", JCudaPointers.reason(e));
        }
    }

    private static void check(int status, String call) {
        if (status != 0) {
            throw new UnsupportedOperationException(call + " fails with status " + status);
        }
    }

    @Override
    public String name() {
        return "jcublas";
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
        if (!(work instanceof Work.Product product)) {
            throw new UnsupportedOperationException("cuBLAS has matrix products only");
        }
        if (product.bias()) {
            throw new UnsupportedOperationException("cublasGemmEx adds no bias");
        }
        if (product.count() > 1) {
            throw new UnsupportedOperationException("cublasGemmEx computes one product");
        }
        Call call = new ProductCall(product);
        call.run(addresses); // a refusal shows here
        return call;
    }

    @Override
    public void close() {
        int _ = JCublas2.cublasDestroy(handle);
        workspace.close();
    }

    /// One product; operands are exchanged as in [CublasLtPeer].
    private final class ProductCall implements Call {
        private final Gemm.Shape shape;
        private final int input;
        private final int output;
        private final Pointer one = Pointer.to(new float[] {1});
        private final Pointer beta;

        ProductCall(Work.Product product) {
            shape = product.shape();
            input = CublasLtPeer.type(product.input());
            output = CublasLtPeer.type(product.output());
            beta = Pointer.to(new float[] {product.accumulate() ? 1 : 0});
        }

        @Override
        public void run(long[] addresses) {
            boolean transposedA = shape.layout() == Gemm.Layout.TN;
            boolean transposedB = shape.layout() == Gemm.Layout.NT;
            check(
                    JCublas2.cublasGemmEx_new(
                            handle,
                            transposedB ? CUBLAS_OP_T : CUBLAS_OP_N,
                            transposedA ? CUBLAS_OP_T : CUBLAS_OP_N,
                            shape.n(),
                            shape.m(),
                            shape.k(),
                            one,
                            JCudaPointers.of(addresses[1]),
                            input,
                            transposedB ? shape.k() : shape.n(),
                            JCudaPointers.of(addresses[0]),
                            input,
                            transposedA ? shape.m() : shape.k(),
                            beta,
                            JCudaPointers.of(addresses[2]),
                            output,
                            shape.n(),
                            CUBLAS_COMPUTE_32F,
                            CUBLAS_GEMM_DEFAULT),
                    "cublasGemmEx");
        }

        @Override
        public void close() {}
    }
}
