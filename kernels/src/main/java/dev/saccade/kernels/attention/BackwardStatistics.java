package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.attention.Attention.Shape;
import java.util.HashMap;
import java.util.Map;

/// What the backward kernels on Hopper need of each query and head beside its rows:
/// `attention/hopper_statistics.cu`, whose numbers these are.
final class BackwardStatistics {
    /// Lines for each head: lse log2(e) and dO.o.
    static final int LINES = 2;

    /// Copies of them, in each of which rows lie one place further.
    private static final int COPIES = 4;

    /// Queries of a block.
    private static final int ROWS = 64;

    private static final int THREADS = 256;

    /// What a line of a tensor map begins at a multiple of.
    private static final int PITCH = 16 / Float.BYTES;

    private final CudaDevice cuda;
    private final Map<Integer, Kernel> kernels = new HashMap<>();
    private final TensorMap map;

    BackwardStatistics(CudaDevice cuda) {
        this.cuda = cuda;
        this.map = cuda.tensorMap(TensorMap.Element.FLOAT32, 2);
    }

    /// Starts the sums for a call; they live until the result is closed.
    ///
    /// @param rows of q; of none, there are none
    Lines sumUp(Shape shape, int rows, BackwardOperands operands) {
        int heads = shape.heads();
        int places = Math.max(1, rows) + COPIES - 1;
        int pitch = Math.ceilDiv(places, PITCH) * PITCH;
        int lines = COPIES * LINES * heads;
        DeviceBuffer buffer = cuda.allocate((long) lines * pitch * Float.BYTES);
        kernels.computeIfAbsent(
                        shape.headDim(),
                        headDim ->
                                cuda.program("attention/hopper_statistics")
                                        .kernel("statistics_" + headDim))
                .begin()
                .pointer(operands.forward().o().address())
                .pointer(operands.dO().address())
                .pointer(operands.forward().lse().address())
                .pointer(buffer.address())
                .int32(rows)
                .int32(heads)
                .int32(pitch)
                .launch(Math.multiplyExact(Math.ceilDiv(rows, ROWS), heads), THREADS);
        return new Lines(buffer, places, lines, pitch);
    }

    /// The sums of one call.
    final class Lines implements AutoCloseable {
        private final DeviceBuffer buffer;
        private final int places;
        private final int lines;
        private final int pitch;

        private Lines(DeviceBuffer buffer, int places, int lines, int pitch) {
            this.buffer = buffer;
            this.places = places;
            this.lines = lines;
            this.pitch = pitch;
        }

        /// Their map, with both lines of a head in boxes of so many queries; good until the next
        /// one is encoded.
        TensorMap encode(int boxPlaces) {
            map.address(buffer.address())
                    .dimension(0, places, boxPlaces)
                    .dimension(1, lines, (long) pitch * Float.BYTES, LINES)
                    .encode();
            return map;
        }

        @Override
        public void close() {
            buffer.close();
        }
    }
}
