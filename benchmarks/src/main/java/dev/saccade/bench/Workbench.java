package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.SplittableRandom;

/// Where cases are prepared: a device, its peers, and normally distributed numbers to fill operands
/// with.
///
/// The numbers are made once, [#FULL_NOISE] of them, and copied on the device from a different
/// place for each operand, so that filling gigabytes takes no time and every element is known on
/// the host without reading it back. Operands of zeros would let the GPU clock higher than real
/// ones do.
final class Workbench implements AutoCloseable {
    /// Numbers for GPUs: the period after which an operand repeats itself; a prime, so that no row
    /// length divides it.
    static final int FULL_NOISE = 8_388_593;

    /// Numbers for tests.
    static final int TINY_NOISE = 65_521;

    /// Operands that are used in turns take so many times the second-level cache.
    private static final int CACHES = 4;

    private static final int MOST_SETS = 32;
    private static final long PHASE_STEP = 1_299_709;

    private final Device device;
    private final Peers peers;
    private final float[] noise;
    private final float[] coarseNoise;
    private final DeviceBuffer noiseF32;
    private final DeviceBuffer noiseBf16;
    private final List<DeviceBuffer> buffers = new ArrayList<>();
    private final Deque<AutoCloseable> closeLater = new ArrayDeque<>();
    private final SplittableRandom random = new SplittableRandom(2026);
    private final Accuracy.Sums accuracy = new Accuracy.Sums();
    private long phase;

    Workbench(Device device, Peers peers, int noiseCount) {
        this.device = device;
        this.peers = peers;
        noise = new float[noiseCount];
        coarseNoise = new float[noiseCount];
        short[] bits = new short[noiseCount];
        SplittableRandom source = new SplittableRandom(1);
        for (int i = 0; i < noiseCount; i++) {
            noise[i] = (float) source.nextGaussian();
            coarseNoise[i] = roundToBf16(noise[i]);
            bits[i] = (short) (Float.floatToRawIntBits(coarseNoise[i]) >>> 16);
        }
        noiseF32 = device.allocate(4L * noiseCount);
        device.upload(MemorySegment.ofArray(noise), noiseF32, 0);
        noiseBf16 = device.allocate(2L * noiseCount);
        device.upload(MemorySegment.ofArray(bits), noiseBf16, 0);
    }

    static float roundToBf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        return Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
    }

    Device device() {
        return device;
    }

    Peers peers() {
        return peers;
    }

    boolean isCuda() {
        return device instanceof CudaDevice;
    }

    /// How many sets of operands to go round, so that none is still in the cache when its turn
    /// comes.
    ///
    /// @param bytes of one set
    int sets(long bytes) {
        if (!(device instanceof CudaDevice cuda)) {
            return 1;
        }
        long wanted = CACHES * cuda.properties().l2Bytes();
        return Math.clamp(Math.ceilDiv(wanted, Math.max(bytes, 1)), 1, MOST_SETS);
    }

    /// Operands of normally distributed numbers, mean 0, deviation 1.
    Operand normal(DType dtype, long count, int sets) {
        long first = phase;
        Span[] spans = new Span[sets];
        for (int i = 0; i < sets; i++) {
            spans[i] = allocate(dtype, count);
            fill(spans[i], phase);
            phase = (phase + PHASE_STEP) % noise.length;
        }
        return new Operand(spans, dtype == DType.BF16 ? coarseNoise : noise, first);
    }

    private void fill(Span span, long from) {
        DeviceBuffer source = span.dtype() == DType.BF16 ? noiseBf16 : noiseF32;
        int bytes = span.dtype().bytes();
        long done = 0;
        long at = from;
        while (done < span.length()) {
            long count = Math.min(span.length() - done, noise.length - at);
            device.copy(source, at * bytes, span.buffer(), done * bytes, count * bytes);
            done += count;
            at = 0;
        }
    }

    /// Operands for results: full of NaN.
    Operand empty(DType dtype, long count, int sets) {
        return filled(dtype, count, sets, (byte) -1);
    }

    /// Operands of zeros, for results that are accumulated into.
    Operand zeros(DType dtype, long count, int sets) {
        return filled(dtype, count, sets, (byte) 0);
    }

    private Operand filled(DType dtype, long count, int sets, byte value) {
        Span[] spans = new Span[sets];
        for (int i = 0; i < sets; i++) {
            spans[i] = allocate(dtype, count);
            device.fill(spans[i].buffer(), 0, spans[i].buffer().bytes(), value);
        }
        return new Operand(spans, new float[] {value == 0 ? 0f : Float.NaN}, 0);
    }

    /// Puts set 0 back to what it was filled with.
    void reset(Operand operand) {
        Span span = operand.set(0);
        if (operand.noise().length == 1) {
            byte value = Float.isNaN(operand.noise()[0]) ? (byte) -1 : 0;
            device.fill(span.buffer(), 0, span.bytes(), value);
        } else {
            fill(span, operand.phase());
        }
    }

    private Span allocate(DType dtype, long count) {
        DeviceBuffer buffer = device.allocate(count * dtype.bytes());
        buffers.add(buffer);
        return Span.of(buffer, dtype);
    }

    /// Integers, I32.
    Span integers(int... values) {
        Span span = allocate(DType.I32, values.length);
        device.upload(MemorySegment.ofArray(values), span.buffer(), 0);
        return span;
    }

    /// Integers, I64.
    Span longs(long... values) {
        Span span = allocate(DType.I64, values.length);
        device.upload(MemorySegment.ofArray(values), span.buffer(), 0);
        return span;
    }

    /// `count` random integers from 0 to `bound` - 1.
    int[] draw(int count, int bound) {
        return random.ints(count, 0, bound).toArray();
    }

    /// An index at random.
    long draw(long bound) {
        return random.nextLong(bound);
    }

    /// `count` elements of a result, from `from` on.
    float[] read(Span span, long from, int count) {
        Span part = span.slice(from, count);
        float[] values = new float[count];
        if (part.dtype() == DType.F32) {
            device.download(part.buffer(), 4 * part.offset(), MemorySegment.ofArray(values));
        } else {
            short[] bits = new short[count];
            device.download(part.buffer(), 2 * part.offset(), MemorySegment.ofArray(bits));
            for (int i = 0; i < count; i++) {
                values[i] = Float.intBitsToFloat(bits[i] << 16);
            }
        }
        return values;
    }

    /// One element of a result.
    double read(Span span, long index) {
        return read(span, index, 1)[0];
    }

    /// Compares an element with its exact value.
    ///
    /// @param dtype of the result: half a unit in its last place is allowed, and as much again
    /// @param magnitude the sum of the absolute terms that the element is a sum of
    /// @param slack how much of that may be lost
    void require(
            String what, DType dtype, double got, double exact, double magnitude, double slack) {
        double unit = dtype == DType.BF16 ? 0x1p-8 : 0x1p-23;
        double allowed = unit * Math.abs(exact) + slack * magnitude + 1e-30;
        if (!(Math.abs(got - exact) <= allowed)) {
            throw new IllegalStateException(
                    "wrong result: %s is %s, expected %s within %.2g"
                            .formatted(what, got, exact, allowed));
        }
        accuracy.add(what, got, exact, allowed);
    }

    /// How far from exact it is what was compared since the last call.
    Accuracy takeAccuracy() {
        return accuracy.take();
    }

    /// What is to be closed when the case has been measured, last first.
    void closeLater(AutoCloseable resource) {
        closeLater.push(resource);
    }

    /// Frees the operands of the case that was measured.
    void clear() {
        device.synchronize();
        while (!closeLater.isEmpty()) {
            try {
                closeLater.pop().close();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }
        buffers.forEach(DeviceBuffer::close);
        buffers.clear();
        accuracy.take();
    }

    @Override
    public void close() {
        clear();
        noiseF32.close();
        noiseBf16.close();
    }
}
