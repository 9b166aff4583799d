package dev.saccade.rl.metrics;

import dev.saccade.engine.InputException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.util.Locale;
import java.util.Map;

/// Writes scalars as an event file that TensorBoard reads.
///
/// The file is a sequence of records ([TensorFlowRecord]), each an `Event` message of TensorBoard's
/// `event.proto`: first the file version, then one event for each step with a `Summary` value for
/// each scalar. A resumed run gets a file of its own, which begins with the notice that what
/// earlier files say about its first and later steps is void.
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
        ProtocolBuffer summary = new ProtocolBuffer();
        scalars.forEach((tag, value) -> {
            if (Double.isFinite(value)) {
                ProtocolBuffer entry = new ProtocolBuffer();
                entry.bytes(VALUE_TAG, utf8(tag));
                entry.float32(VALUE_SIMPLE_VALUE, (float) (double) value);
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
