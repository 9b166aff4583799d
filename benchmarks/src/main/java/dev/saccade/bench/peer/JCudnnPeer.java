package dev.saccade.bench.peer;

import dev.saccade.engine.CudaDevice;
import jcuda.Pointer;
import jcuda.jcudnn.JCudnn;
import jcuda.jcudnn.cudnnHandle;
import jcuda.jcudnn.cudnnTensorDescriptor;
import org.jspecify.annotations.Nullable;

/// cuDNN 9 through JCudnn: softmax of rows. The Java half is 11.7.0 (the last there is), the native
/// half 12.6.0, which is linked against libcudnn.so.9.
final class JCudnnPeer implements Peer {
    /// cudnnSoftmaxAlgorithm_t, cudnnSoftmaxMode_t, cudnnTensorFormat_t and cudnnDataType_t of
    /// cudnn_ops.h and cudnn_graph.h.
    private static final int CUDNN_SOFTMAX_ACCURATE = 1;

    private static final int CUDNN_SOFTMAX_MODE_INSTANCE = 0;
    private static final int CUDNN_TENSOR_NCHW = 0;
    private static final int CUDNN_DATA_FLOAT = 0;

    private final cudnnHandle handle;
    private final String version;

    private JCudnnPeer(CudaDevice device, cudnnHandle handle, String version) {
        this.handle = handle;
        this.version = version;
        check(JCudnn.cudnnSetStream(handle, JCudaPointers.stream(device)), "cudnnSetStream");
    }

    /// The library on `device`, or why it can't be used. The device's thread calls.
    static Peer open(CudaDevice device) {
        Library library = CudnnPeer.load();
        if (library == null) {
            return new Refused("jcudnn", CudnnPeer.tried());
        }
        try {
            JCudnn.setExceptionsEnabled(false);
            cudnnHandle handle = new cudnnHandle();
            int status = JCudnn.cudnnCreate(handle);
            if (status != 0) {
                return new Refused("jcudnn", "cudnnCreate fails with status " + status);
            }
            String version =
                    "cuDNN %s through JCudnn 11.7.0 with natives 12.6.0, %s"
                            .formatted(CudnnPeer.text(JCudnn.cudnnGetVersion()), library.path());
            return new JCudnnPeer(device, handle, version);
        } catch (LinkageError | UnsupportedOperationException e) {
            return new Refused("jcudnn", JCudaPointers.reason(e));
        }
    }

    private static void check(int status, String call) {
        if (status != 0) {
            throw new UnsupportedOperationException(call + " fails with status " + status);
        }
    }

    @Override
    public String name() {
        return "jcudnn";
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
        if (!(work instanceof Work.Softmax softmax)) {
            throw new UnsupportedOperationException("the adapter has softmax only");
        }
        Call call = new SoftmaxCall(softmax);
        call.run(addresses); // a refusal shows here
        return call;
    }

    @Override
    public void close() {
        int _ = JCudnn.cudnnDestroy(handle);
    }

    /// The softmax over the channels of `rows` instances of 1 x 1 pictures.
    private final class SoftmaxCall implements Call {
        private final cudnnTensorDescriptor tensor = new cudnnTensorDescriptor();
        private final Pointer one = Pointer.to(new float[] {1});
        private final Pointer zero = Pointer.to(new float[] {0});

        SoftmaxCall(Work.Softmax work) {
            check(JCudnn.cudnnCreateTensorDescriptor(tensor), "cudnnCreateTensorDescriptor");
            check(
                    JCudnn.cudnnSetTensor4dDescriptor(
                            tensor,
                            CUDNN_TENSOR_NCHW,
                            CUDNN_DATA_FLOAT,
                            work.rows(),
                            work.width(),
                            1,
                            1),
                    "cudnnSetTensor4dDescriptor");
        }

        @Override
        public void run(long[] addresses) {
            check(
                    JCudnn.cudnnSoftmaxForward(
                            handle,
                            CUDNN_SOFTMAX_ACCURATE,
                            CUDNN_SOFTMAX_MODE_INSTANCE,
                            one,
                            tensor,
                            JCudaPointers.of(addresses[0]),
                            zero,
                            tensor,
                            JCudaPointers.of(addresses[1])),
                    "cudnnSoftmaxForward");
        }

        @Override
        public void close() {
            int _ = JCudnn.cudnnDestroyTensorDescriptor(tensor);
        }
    }
}
