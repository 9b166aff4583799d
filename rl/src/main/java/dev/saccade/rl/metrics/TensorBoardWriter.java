package dev.saccade.rl.metrics;

import dev.saccade.engine.InputException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// Writes scalars and histograms as an event file that TensorBoard reads.
///
/// The file is a sequence of records ([TensorFlowRecord]), each an `Event` message of TensorBoard's
/// `event.proto`: first the file version, then one event for each step with a `Summary` value for
/// each scalar and histogram. A resumed run gets a file of its own, which begins with the notice
/// that what earlier files say about its first and later steps is void.
public final class TensorBoardWriter implements AutoCloseable {
    /// The folder of the event files in a run's folder.
    public static final String FOLDER_NAME = "tensorboard";

    private static final String FILE_VERSION = "brain.Event:2";

    // event.proto
    private static final int EVENT_WALL_TIME = 1;
    private static final int EVENT_STEP = 2;
    private static final int EVENT_FILE_VERSION = 3;
    private static final int EVENT_SUMMARY = 5;
    private static final int EVENT_SESSION_LOG = 7;
    private static final int SESSION_LOG_STATUS = 1;
    private static final int SESSION_LOG_START = 1;
    // summary.proto
    private static final int SUMMARY_VALUE = 1;
    private static final int VALUE_TAG = 1;
    private static final int VALUE_SIMPLE_VALUE = 2;
    private static final int VALUE_HISTOGRAM = 5;
    private static final int HISTOGRAM_MIN = 1;
    private static final int HISTOGRAM_MAX = 2;
    private static final int HISTOGRAM_NUMBER = 3;
    private static final int HISTOGRAM_SUM = 4;
    private static final int HISTOGRAM_SUM_OF_SQUARES = 5;
    private static final int HISTOGRAM_LIMITS = 6;
    private static final int HISTOGRAM_COUNTS = 7;

    private final Path file;
    private final OutputStream out;
    private final Clock clock;

    private TensorBoardWriter(Path file, OutputStream out, Clock clock) {
        this.file = file;
        this.out = out;
        this.clock = clock;
    }

    /// Begins a new event file in the run's folder `tensorboard`.
    ///
    /// @param run the run's folder
    /// @param firstStep the first step that will be written; above 0, events of earlier files from
    ///   this step on are void
    public static TensorBoardWriter open(Path run, long firstStep) {
        return open(run, firstStep, Clock.systemUTC());
    }

    static TensorBoardWriter open(Path run, long firstStep, Clock clock) {
        Path folder = run.resolve(FOLDER_NAME);
        try {
            Files.createDirectories(folder);
            Path file = unused(folder, clock.instant().getEpochSecond());
            TensorBoardWriter writer =
                    new TensorBoardWriter(file, new FileOutputStream(file.toFile()), clock);
            writer.begin(firstStep);
            return writer;
        } catch (IOException e) {
            throw notWritable(folder, e);
        }
    }

    /// TensorBoard reads the files of a folder in the order of their names.
    private static Path unused(Path folder, long second) {
        for (int number = 0; ; number++) {
            Path file =
                    folder.resolve(
                            String.format(
                                    Locale.ROOT,
                                    "events.out.tfevents.%010d.saccade.%03d",
                                    second,
                                    number));
            if (!Files.exists(file)) {
                return file;
            }
        }
    }

    private void begin(long firstStep) throws IOException {
        out.write(
                TensorFlowRecord.encode(
                        event(0).bytes(EVENT_FILE_VERSION, utf8(FILE_VERSION)).toBytes()));
        if (firstStep > 0) {
            byte[] start =
                    new ProtocolBuffer().varint(SESSION_LOG_STATUS, SESSION_LOG_START).toBytes();
            out.write(
                    TensorFlowRecord.encode(
                            event(firstStep).bytes(EVENT_SESSION_LOG, start).toBytes()));
        }
        out.flush();
    }

    /// Writes scalars of a step. What is not finite is left out.
    ///
    /// @param step the step over the whole run
    /// @param scalars by tag; a `/` in a tag groups the charts
    public void scalars(long step, Map<String, Double> scalars) {
        write(step, scalars, Map.of(), List.of());
    }

    /// Writes scalars and histograms of a step. What is not finite and a histogram without a count
    /// are left out.
    ///
    /// TensorBoard draws a histogram from where its bins lie and what is in them, so the bins
    /// behind the last that holds something are not written. A bin without an end is drawn as wide
    /// as the one before it. The format also has the values' sum and sum of squares, which no bin
    /// knows: they are those of the bins' middles, and TensorBoard shows neither.
    ///
    /// @param step the step over the whole run
    /// @param scalars by tag; a `/` in a tag groups the charts
    /// @param histograms counts by tag: number `i` is of the values from edge `i` to below the
    ///   next, the last without an end
    /// @param edges where the bins begin, ascending
    public void write(
            long step,
            Map<String, Double> scalars,
            Map<String, long[]> histograms,
            List<Double> edges) {
        ProtocolBuffer summary = new ProtocolBuffer();
        scalars.forEach((tag, value) -> {
            if (Double.isFinite(value)) {
                ProtocolBuffer entry = new ProtocolBuffer();
                entry.bytes(VALUE_TAG, utf8(tag));
                entry.float32(VALUE_SIMPLE_VALUE, (float) (double) value);
                summary.bytes(SUMMARY_VALUE, entry.toBytes());
            }
        });
        histograms.forEach((tag, counts) -> {
            byte[] histogram = histogram(tag, counts, edges);
            if (histogram.length > 0) {
                ProtocolBuffer entry = new ProtocolBuffer();
                entry.bytes(VALUE_TAG, utf8(tag));
                entry.bytes(VALUE_HISTOGRAM, histogram);
                summary.bytes(SUMMARY_VALUE, entry.toBytes());
            }
        });
        try {
            out.write(
                    TensorFlowRecord.encode(
                            event(step).bytes(EVENT_SUMMARY, summary.toBytes()).toBytes()));
            out.flush();
        } catch (IOException e) {
            throw notWritable(file, e);
        }
    }

    /// A `HistogramProto`; no bytes where nothing was counted.
    private static byte[] histogram(String tag, long[] counts, List<Double> edges) {
        if (counts.length != edges.size()) {
            throw new IllegalArgumentException(
                    "%s: %d counts, %d edges".formatted(tag, counts.length, edges.size()));
        }
        int first = 0;
        int end = counts.length;
        while (end > 0 && counts[end - 1] == 0) {
            end--;
        }
        while (first < end && counts[first] == 0) {
            first++;
        }
        if (first == end) {
            return new byte[0];
        }
        double[] limits = new double[end - first];
        double[] kept = new double[end - first];
        double number = 0;
        double sum = 0;
        double squares = 0;
        for (int bin = first; bin < end; bin++) {
            double begin = edges.get(bin);
            double limit =
                    bin + 1 < edges.size()
                            ? edges.get(bin + 1)
                            : begin + (bin == 0 ? 1 : begin - edges.get(bin - 1));
            double middle = (begin + limit) / 2;
            limits[bin - first] = limit;
            kept[bin - first] = counts[bin];
            number += counts[bin];
            sum += counts[bin] * middle;
            squares += counts[bin] * middle * middle;
        }
        return new ProtocolBuffer()
                .float64(HISTOGRAM_MIN, edges.get(first))
                .float64(HISTOGRAM_MAX, limits[limits.length - 1])
                .float64(HISTOGRAM_NUMBER, number)
                .float64(HISTOGRAM_SUM, sum)
                .float64(HISTOGRAM_SUM_OF_SQUARES, squares)
                .bytes(HISTOGRAM_LIMITS, packed(limits))
                .bytes(HISTOGRAM_COUNTS, packed(kept))
                .toBytes();
    }

    private static byte[] packed(double[] values) {
        ByteBuffer bytes =
                ByteBuffer.allocate(values.length * Double.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (double value : values) {
            bytes.putDouble(value);
        }
        return bytes.array();
    }

    private ProtocolBuffer event(long step) {
        Instant now = clock.instant();
        ProtocolBuffer event = new ProtocolBuffer();
        event.float64(EVENT_WALL_TIME, now.getEpochSecond() + now.getNano() / 1e9);
        return step == 0 ? event : event.varint(EVENT_STEP, step);
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
        try {
            out.close();
        } catch (IOException e) {
            throw notWritable(file, e);
        }
    }

    private static InputException notWritable(Path file, IOException e) {
        return new InputException(
                file.toString(),
                "can't be written: " + e.getMessage(),
                "check that the disk is neither full nor read-only",
                e);
    }
}
