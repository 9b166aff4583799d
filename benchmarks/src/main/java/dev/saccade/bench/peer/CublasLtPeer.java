package dev.saccade.bench.peer;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Event;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.gemm.Gemm;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// cuBLASLt 13 or 12 through the Foreign Function & Memory API. Of the algorithms that its
/// heuristic offers first it takes the one that measures fastest.
///
/// It knows column-major matrices only: a row-major C [m,n] is its C' [n,m], and C' = op(B)'
/// op(A)'.
///
/// Constants, the struct and signatures are those of cublasLt.h, cublas_api.h and library_types.h
/// of CUDA 13.1, the same in 12.x.
final class CublasLtPeer implements Peer {
    static final String PROPERTY = "saccade.cublaslt";
    static final String VARIABLE = "SACCADE_CUBLASLT";
    static final List<String> SONAMES = List.of("libcublasLt.so.13", "libcublasLt.so.12");

    /// cudaDataType
    private static final int CUDA_R_32F = 0;

    private static final int CUDA_R_16BF = 14;

    /// cublasComputeType_t: fp32 accumulation, and true fp32 products where the inputs are fp32.
    private static final int CUBLAS_COMPUTE_32F = 68;

    /// cublasOperation_t
    private static final int CUBLAS_OP_N = 0;

    private static final int CUBLAS_OP_T = 1;

    /// cublasLtMatmulDescAttributes_t
    private static final int MATMUL_DESC_TRANSA = 3;

    private static final int MATMUL_DESC_TRANSB = 4;
    private static final int MATMUL_DESC_EPILOGUE = 7;
    private static final int MATMUL_DESC_BIAS_POINTER = 8;

    /// cublasLtMatrixLayoutAttribute_t
    private static final int MATRIX_LAYOUT_BATCH_COUNT = 5;

    private static final int MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6;

    /// cublasLtEpilogue_t
    private static final int EPILOGUE_BIAS = 4;

    /// cublasLtMatmulPreferenceAttributes_t
    private static final int MATMUL_PREF_MAX_WORKSPACE_BYTES = 1;

    /// cublasLtMatmulHeuristicResult_t: the algorithm comes first.
    static final MemoryLayout HEURISTIC_RESULT =
            MemoryLayout.structLayout(
                    MemoryLayout.sequenceLayout(8, JAVA_LONG).withName("algo"),
                    JAVA_LONG.withName("workspaceSize"),
                    JAVA_INT.withName("state"),
                    ValueLayout.JAVA_FLOAT.withName("wavesCount"),
                    MemoryLayout.sequenceLayout(4, JAVA_INT).withName("reserved"));

    private static final long WORKSPACE_SIZE_OFFSET = 64;
    private static final long STATE_OFFSET = 72;

    private static final int ALGORITHMS = 8;
    private static final int TRIALS = 3;
    private static final long WORKSPACE_BYTES = 64L << 20;

    private final CudaDevice device;
    private final Functions functions;
    private final String version;
    private final long handle;
    private final DeviceBuffer workspace;

    private CublasLtPeer(CudaDevice device, Functions functions, String version, long handle) {
        this.device = device;
        this.functions = functions;
        this.version = version;
        this.handle = handle;
        workspace = device.allocate(WORKSPACE_BYTES);
    }

    /// The library on `device`, or why it can't be used. The device's thread calls.
    static Peer open(CudaDevice device) {
        Library library = Library.open(SONAMES, NativeLibraries.choice(PROPERTY, VARIABLE));
        if (library == null) {
            return new Refused("cublaslt", Library.tried(SONAMES, PROPERTY, VARIABLE));
        }
        try (Arena arena = Arena.ofConfined()) {
            Functions functions = new Functions(library);
            long number = functions.version();
            String version =
                    "cuBLASLt %d.%d.%d, %s"
                            .formatted(
                                    number / 10000,
                                    number / 100 % 100,
                                    number % 100,
                                    library.path());
            MemorySegment out = arena.allocate(JAVA_LONG);
            int status = functions.create(out);
            if (status != 0) {
                return new Refused(
                        "cublaslt",
                        version + ": cublasLtCreate fails: " + functions.statusText(status));
            }
            return new CublasLtPeer(device, functions, version, out.get(JAVA_LONG, 0));
        } catch (UnsatisfiedLinkError e) {
            return new Refused("cublaslt", String.valueOf(e.getMessage()));
        }
    }

    @Override
    public String name() {
        return "cublaslt";
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
            throw new UnsupportedOperationException("cuBLASLt has matrix products only");
        }
        return new ProductCall(product, addresses);
    }

    @Override
    public void close() {
        int _ = functions.destroy(handle);
        workspace.close();
    }

    static int type(DType dtype) {
        return switch (dtype) {
            case F32 -> CUDA_R_32F;
            case BF16 -> CUDA_R_16BF;
            default -> throw new UnsupportedOperationException("products of " + dtype);
        };
    }

    private void check(int status, String call) {
        if (status != 0) {
            throw new UnsupportedOperationException(
                    call + " fails: " + functions.statusText(status));
        }
    }

    /// One product and its algorithm.
    private final class ProductCall implements Call {
        private final Arena arena = Arena.ofConfined();
        private final MemorySegment one = arena.allocateFrom(ValueLayout.JAVA_FLOAT, 1f);
        private final MemorySegment beta;
        private final boolean hasBias;
        private final int count;
        private final MemorySegment biasPointer = arena.allocate(JAVA_LONG);
        private final long description;
        private final long layoutA;
        private final long layoutB;
        private final long layoutC;
        private final MemorySegment algorithm;

        ProductCall(Work.Product product, long[] addresses) {
            Gemm.Shape shape = product.shape();
            boolean transposedA = shape.layout() == Gemm.Layout.TN;
            boolean transposedB = shape.layout() == Gemm.Layout.NT;
            beta = arena.allocateFrom(ValueLayout.JAVA_FLOAT, product.accumulate() ? 1f : 0f);
            hasBias = product.bias();
            count = product.count();
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(
                    functions.matmulDescCreate(out, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                    "cublasLtMatmulDescCreate");
            description = out.get(JAVA_LONG, 0);
            set(MATMUL_DESC_TRANSA, transposedB ? CUBLAS_OP_T : CUBLAS_OP_N);
            set(MATMUL_DESC_TRANSB, transposedA ? CUBLAS_OP_T : CUBLAS_OP_N);
            if (hasBias) {
                set(MATMUL_DESC_EPILOGUE, EPILOGUE_BIAS);
                setBias(addresses[3]);
            }
            int input = type(product.input());
            layoutA =
                    transposedB
                            ? layout(out, input, shape.k(), shape.n())
                            : layout(out, input, shape.n(), shape.k());
            layoutB =
                    transposedA
                            ? layout(out, input, shape.m(), shape.k())
                            : layout(out, input, shape.k(), shape.m());
            layoutC = layout(out, type(product.output()), shape.n(), shape.m());
            algorithm = fastest(addresses);
        }

        private void set(int attribute, int value) {
            check(
                    functions.matmulDescSetAttribute(
                            description, attribute, arena.allocateFrom(JAVA_INT, value)),
                    "cublasLtMatmulDescSetAttribute");
        }

        private void setBias(long address) {
            biasPointer.set(JAVA_LONG, 0, address);
            check(
                    functions.matmulDescSetAttribute(
                            description, MATMUL_DESC_BIAS_POINTER, biasPointer),
                    "cublasLtMatmulDescSetAttribute");
        }

        /// Dense column-major matrices, one right behind the other.
        private long layout(MemorySegment out, int type, int rows, int columns) {
            check(
                    functions.matrixLayoutCreate(out, type, rows, columns, rows),
                    "cublasLtMatrixLayoutCreate");
            long layout = out.get(JAVA_LONG, 0);
            if (count > 1) {
                set(layout, MATRIX_LAYOUT_BATCH_COUNT, arena.allocateFrom(JAVA_INT, count));
                set(
                        layout,
                        MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                        arena.allocateFrom(JAVA_LONG, (long) rows * columns));
            }
            return layout;
        }

        private void set(long layout, int attribute, MemorySegment value) {
            check(
                    functions.matrixLayoutSetAttribute(layout, attribute, value),
                    "cublasLtMatrixLayoutSetAttribute");
        }

        private MemorySegment fastest(long[] addresses) {
            MemorySegment results = arena.allocate(HEURISTIC_RESULT, ALGORITHMS);
            int count = candidates(results);
            @Nullable MemorySegment best = null;
            float least = Float.POSITIVE_INFINITY;
            try (Event start = device.event();
                    Event end = device.event()) {
                for (int i = 0; i < count; i++) {
                    MemorySegment result = results.asSlice(i * HEURISTIC_RESULT.byteSize());
                    boolean usable =
                            result.get(JAVA_INT, STATE_OFFSET) == 0
                                    && result.get(JAVA_LONG, WORKSPACE_SIZE_OFFSET)
                                            <= WORKSPACE_BYTES
                                    && launch(result, addresses) == 0;
                    if (!usable) {
                        continue;
                    }
                    start.record();
                    for (int trial = 0; trial < TRIALS; trial++) {
                        check(launch(result, addresses), "cublasLtMatmul");
                    }
                    end.record();
                    end.synchronize();
                    float milliseconds = end.millisecondsSince(start);
                    if (milliseconds < least) {
                        least = milliseconds;
                        best = result;
                    }
                }
            }
            if (best == null) {
                throw new UnsupportedOperationException(
                        "cuBLASLt has no algorithm for this product");
            }
            return best;
        }

        private int candidates(MemorySegment results) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(functions.matmulPreferenceCreate(out), "cublasLtMatmulPreferenceCreate");
            long preference = out.get(JAVA_LONG, 0);
            try {
                check(
                        functions.matmulPreferenceSetAttribute(
                                preference,
                                MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                arena.allocateFrom(JAVA_LONG, WORKSPACE_BYTES)),
                        "cublasLtMatmulPreferenceSetAttribute");
                check(
                        functions.matmulAlgoGetHeuristic(
                                handle,
                                description,
                                layoutA,
                                layoutB,
                                layoutC,
                                layoutC,
                                preference,
                                ALGORITHMS,
                                results,
                                out),
                        "cublasLtMatmulAlgoGetHeuristic");
            } finally {
                int _ = functions.matmulPreferenceDestroy(preference);
            }
            return out.get(JAVA_INT, 0);
        }

        private int launch(MemorySegment algo, long[] addresses) {
            return functions.matmul(
                    handle,
                    description,
                    one,
                    addresses[1],
                    layoutA,
                    addresses[0],
                    layoutB,
                    beta,
                    addresses[2],
                    layoutC,
                    addresses[2],
                    layoutC,
                    algo,
                    workspace.address(),
                    WORKSPACE_BYTES,
                    device.stream().handle());
        }

        @Override
        public void run(long[] addresses) {
            if (hasBias && biasPointer.get(JAVA_LONG, 0) != addresses[3]) {
                setBias(addresses[3]);
            }
            check(launch(algorithm, addresses), "cublasLtMatmul");
        }

        @Override
        public void close() {
            int _ = functions.matrixLayoutDestroy(layoutA);
            int _ = functions.matrixLayoutDestroy(layoutB);
            int _ = functions.matrixLayoutDestroy(layoutC);
            int _ = functions.matmulDescDestroy(description);
            arena.close();
        }
    }

    /// The functions used, under their names without `cublasLt`.
    static final class Functions {
        private final MethodHandle create;
        private final MethodHandle destroy;
        private final MethodHandle getVersion;
        private final MethodHandle getStatusString;
        private final MethodHandle matmulDescCreate;
        private final MethodHandle matmulDescDestroy;
        private final MethodHandle matmulDescSetAttribute;
        private final MethodHandle matrixLayoutCreate;
        private final MethodHandle matrixLayoutDestroy;
        private final MethodHandle matrixLayoutSetAttribute;
        private final MethodHandle matmulPreferenceCreate;
        private final MethodHandle matmulPreferenceDestroy;
        private final MethodHandle matmulPreferenceSetAttribute;
        private final MethodHandle matmulAlgoGetHeuristic;
        private final MethodHandle matmul;

        Functions(Library library) {
            create = library.function("cublasLtCreate", JAVA_INT, ADDRESS);
            destroy = library.function("cublasLtDestroy", JAVA_INT, JAVA_LONG);
            getVersion = library.function("cublasLtGetVersion", JAVA_LONG);
            getStatusString = library.function("cublasLtGetStatusString", ADDRESS, JAVA_INT);
            matmulDescCreate =
                    library.function(
                            "cublasLtMatmulDescCreate", JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT);
            matmulDescDestroy = library.function("cublasLtMatmulDescDestroy", JAVA_INT, JAVA_LONG);
            matmulDescSetAttribute =
                    library.function(
                            "cublasLtMatmulDescSetAttribute",
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_INT,
                            ADDRESS,
                            JAVA_LONG);
            matrixLayoutCreate =
                    library.function(
                            "cublasLtMatrixLayoutCreate",
                            JAVA_INT,
                            ADDRESS,
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG);
            matrixLayoutDestroy =
                    library.function("cublasLtMatrixLayoutDestroy", JAVA_INT, JAVA_LONG);
            matrixLayoutSetAttribute =
                    library.function(
                            "cublasLtMatrixLayoutSetAttribute",
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_INT,
                            ADDRESS,
                            JAVA_LONG);
            matmulPreferenceCreate =
                    library.function("cublasLtMatmulPreferenceCreate", JAVA_INT, ADDRESS);
            matmulPreferenceDestroy =
                    library.function("cublasLtMatmulPreferenceDestroy", JAVA_INT, JAVA_LONG);
            matmulPreferenceSetAttribute =
                    library.function(
                            "cublasLtMatmulPreferenceSetAttribute",
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_INT,
                            ADDRESS,
                            JAVA_LONG);
            matmulAlgoGetHeuristic =
                    library.function(
                            "cublasLtMatmulAlgoGetHeuristic",
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_INT,
                            ADDRESS,
                            ADDRESS);
            matmul =
                    library.function(
                            "cublasLtMatmul",
                            JAVA_INT,
                            JAVA_LONG,
                            JAVA_LONG,
                            ADDRESS,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            ADDRESS,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG,
                            ADDRESS,
                            JAVA_LONG,
                            JAVA_LONG,
                            JAVA_LONG);
        }

        int create(MemorySegment out) {
            try {
                return (int) create.invokeExact(out);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int destroy(long handle) {
            return destroyed(destroy, handle);
        }

        long version() {
            try {
                return (long) getVersion.invokeExact();
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        String statusText(int status) {
            try {
                return Library.text((MemorySegment) getStatusString.invokeExact(status));
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmulDescCreate(MemorySegment out, int computeType, int scaleType) {
            try {
                return (int) matmulDescCreate.invokeExact(out, computeType, scaleType);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmulDescDestroy(long description) {
            return destroyed(matmulDescDestroy, description);
        }

        int matmulDescSetAttribute(long description, int attribute, MemorySegment value) {
            try {
                return (int)
                        matmulDescSetAttribute.invokeExact(
                                description, attribute, value, value.byteSize());
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matrixLayoutCreate(MemorySegment out, int type, long rows, long columns, long ld) {
            try {
                return (int) matrixLayoutCreate.invokeExact(out, type, rows, columns, ld);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matrixLayoutDestroy(long layout) {
            return destroyed(matrixLayoutDestroy, layout);
        }

        int matrixLayoutSetAttribute(long layout, int attribute, MemorySegment value) {
            try {
                return (int)
                        matrixLayoutSetAttribute.invokeExact(
                                layout, attribute, value, value.byteSize());
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmulPreferenceCreate(MemorySegment out) {
            try {
                return (int) matmulPreferenceCreate.invokeExact(out);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmulPreferenceDestroy(long preference) {
            return destroyed(matmulPreferenceDestroy, preference);
        }

        int matmulPreferenceSetAttribute(long preference, int attribute, MemorySegment value) {
            try {
                return (int)
                        matmulPreferenceSetAttribute.invokeExact(
                                preference, attribute, value, value.byteSize());
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmulAlgoGetHeuristic(
                long handle,
                long description,
                long layoutA,
                long layoutB,
                long layoutC,
                long layoutD,
                long preference,
                int requested,
                MemorySegment results,
                MemorySegment returned) {
            try {
                return (int)
                        matmulAlgoGetHeuristic.invokeExact(
                                handle,
                                description,
                                layoutA,
                                layoutB,
                                layoutC,
                                layoutD,
                                preference,
                                requested,
                                results,
                                returned);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        int matmul(
                long handle,
                long description,
                MemorySegment alpha,
                long a,
                long layoutA,
                long b,
                long layoutB,
                MemorySegment beta,
                long c,
                long layoutC,
                long d,
                long layoutD,
                MemorySegment algo,
                long workspace,
                long workspaceBytes,
                long stream) {
            try {
                return (int)
                        matmul.invokeExact(
                                handle,
                                description,
                                alpha,
                                a,
                                layoutA,
                                b,
                                layoutB,
                                beta,
                                c,
                                layoutC,
                                d,
                                layoutD,
                                algo,
                                workspace,
                                workspaceBytes,
                                stream);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }

        private static int destroyed(MethodHandle function, long object) {
            try {
                return (int) function.invokeExact(object);
            } catch (Throwable t) {
                throw Library.broken(t);
            }
        }
    }
}
