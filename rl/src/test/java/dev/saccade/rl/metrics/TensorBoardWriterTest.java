package dev.saccade.rl.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class TensorBoardWriterTest {
    private static final Clock CLOCK =
            Clock.fixed(Instant.ofEpochSecond(1_700_000_000, 500_000_000), ZoneOffset.UTC);

    @TempDir Path run;

    /// What an event says, read without the writer's code.
    private static final class Event {
        double wallTime;
        long step;
        @Nullable String fileVersion;
        long sessionStatus;
        final Map<String, Float> scalars = new LinkedHashMap<>();
        final Map<String, Histogram> histograms = new LinkedHashMap<>();
    }

    /// A histogram as the file has it: the five numbers about its values, then its bins.
    private record Histogram(List<Double> numbers, List<Double> limits, List<Double> counts) {
        static Histogram read(ByteBuffer in) {
            List<Double> numbers = new ArrayList<>();
            for (int field = 1; field <= 5; field++) {
                assertThat(varint(in)).isEqualTo(field << 3 | 1);
                numbers.add(in.getDouble());
            }
            assertThat(varint(in)).isEqualTo(6 << 3 | 2);
            List<Double> limits = doubles(part(in));
            assertThat(varint(in)).isEqualTo(7 << 3 | 2);
            List<Double> counts = doubles(part(in));
            assertThat(in.hasRemaining()).isFalse();
            return new Histogram(numbers, limits, counts);
        }

        private static List<Double> doubles(ByteBuffer in) {
            List<Double> values = new ArrayList<>();
            while (in.hasRemaining()) {
                values.add(in.getDouble());
            }
            return values;
        }
    }

    /// CRC-32C bit by bit, from its polynomial.
    private static int crc(byte[] bytes) {
        int crc = ~0;
        for (byte value : bytes) {
            crc ^= value & 0xff;
            for (int bit = 0; bit < 8; bit++) {
                crc = (crc & 1) != 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
            }
        }
        return ~crc;
    }

    private static int masked(byte[] bytes) {
        int crc = crc(bytes);
        return ((crc >>> 15) | (crc << 17)) + 0xa282ead8;
    }

    private static List<byte[]> records(byte[] file) {
        ByteBuffer in = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        List<byte[]> records = new ArrayList<>();
        while (in.hasRemaining()) {
            byte[] header = new byte[8];
            in.get(header);
            long length = ByteBuffer.wrap(header).order(ByteOrder.LITTLE_ENDIAN).getLong();
            assertThat(in.getInt()).isEqualTo(masked(header));
            byte[] data = new byte[Math.toIntExact(length)];
            in.get(data);
            assertThat(in.getInt()).isEqualTo(masked(data));
            records.add(data);
        }
        return records;
    }

    private static long varint(ByteBuffer in) {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte part = in.get();
            value |= (part & 0x7fL) << shift;
            if (part >= 0) {
                return value;
            }
        }
    }

    private static ByteBuffer part(ByteBuffer in) {
        byte[] bytes = new byte[Math.toIntExact(varint(in))];
        in.get(bytes);
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static String text(ByteBuffer in) {
        return StandardCharsets.UTF_8.decode(part(in)).toString();
    }

    private static Event event(byte[] data) {
        ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
        Event event = new Event();
        while (in.hasRemaining()) {
            int key = (int) varint(in);
            switch (key) {
                case 1 << 3 | 1 -> event.wallTime = in.getDouble();
                case 2 << 3 -> event.step = varint(in);
                case 3 << 3 | 2 -> event.fileVersion = text(in);
                case 5 << 3 | 2 -> {
                    ByteBuffer summary = part(in);
                    while (summary.hasRemaining()) {
                        assertThat(varint(summary)).isEqualTo(1 << 3 | 2);
                        ByteBuffer value = part(summary);
                        assertThat(varint(value)).isEqualTo(1 << 3 | 2);
                        String tag = text(value);
                        long kind = varint(value);
                        if (kind == (5 << 3 | 2)) {
                            event.histograms.put(tag, Histogram.read(part(value)));
                        } else {
                            assertThat(kind).isEqualTo(2 << 3 | 5);
                            event.scalars.put(tag, value.getFloat());
                        }
                        assertThat(value.hasRemaining()).isFalse();
                    }
                }
                case 7 << 3 | 2 -> {
                    ByteBuffer session = part(in);
                    assertThat(varint(session)).isEqualTo(1 << 3);
                    event.sessionStatus = varint(session);
                }
                default -> throw new AssertionError("field key " + key);
            }
        }
        return event;
    }

    private List<Path> files() throws IOException {
        try (Stream<Path> files = Files.list(run.resolve("tensorboard"))) {
            return files.sorted().toList();
        }
    }

    private static List<Event> events(Path file) throws IOException {
        return records(Files.readAllBytes(file)).stream()
                .map(TensorBoardWriterTest::event)
                .toList();
    }

    @Test
    void theChecksumIsTheStandardsOne() {
        assertThat(crc("123456789".getBytes(StandardCharsets.US_ASCII))).isEqualTo(0xe3069283);
    }

    @Test
    void beginsLikeEveryEventFile() throws IOException {
        TensorBoardWriter.open(run, 0, CLOCK).close();
        Path file = files().getFirst();
        assertThat(file.getFileName()).hasToString("events.out.tfevents.1700000000.saccade.000");
        byte[] bytes = Files.readAllBytes(file);
        // The header of every such file: a record of 24 bytes, and the checksum of this length.
        assertThat(HexFormat.of().formatHex(bytes, 0, 12)).isEqualTo("1800000000000000a37f4b22");
        assertThat(new String(bytes, 12 + 11, 13, StandardCharsets.US_ASCII))
                .isEqualTo("brain.Event:2");
        Event first = event(records(bytes).getFirst());
        assertThat(first.fileVersion).isEqualTo("brain.Event:2");
        assertThat(first.wallTime).isEqualTo(1_700_000_000.5);
    }

    @Test
    void scalarsComeBack() throws IOException {
        Random random = new Random(3);
        List<Map<String, Double>> written = new ArrayList<>();
        try (TensorBoardWriter writer = TensorBoardWriter.open(run, 0, CLOCK)) {
            for (int step = 0; step < 300; step++) {
                Map<String, Double> scalars = new LinkedHashMap<>();
                scalars.put("actor/entropy", random.nextGaussian());
                scalars.put("val-core/größe/acc/mean@1", random.nextDouble());
                written.add(scalars);
                writer.scalars(step, scalars);
            }
            writer.scalars(1L << 40, Map.of("x", 1.0, "y", Double.NaN));
        }
        List<Event> events = events(files().getFirst());
        assertThat(events).hasSize(302);
        for (int step = 0; step < 300; step++) {
            Event event = events.get(step + 1);
            assertThat(event.step).isEqualTo(step);
            assertThat(event.scalars.keySet())
                    .containsExactlyElementsOf(written.get(step).keySet());
            written.get(step)
                    .forEach((tag, value) ->
                            assertThat(event.scalars.get(tag)).isEqualTo((float) (double) value));
        }
        assertThat(events.getLast().step).isEqualTo(1L << 40);
        assertThat(events.getLast().scalars).containsExactly(Map.entry("x", 1f));
    }

    @Test
    void histogramsComeBack() throws IOException {
        Map<String, long[]> histograms = new LinkedHashMap<>();
        histograms.put("narrow", new long[] {3, 1, 0, 0});
        histograms.put("wide", new long[] {0, 0, 0, 5});
        histograms.put("nothing", new long[4]);
        List<Double> edges = List.of(0.0, 0.5, 1.0, 3.0);
        try (TensorBoardWriter writer = TensorBoardWriter.open(run, 0, CLOCK)) {
            writer.write(7, Map.of("x", 1.0), histograms, edges);
            assertThatThrownBy(() -> writer.write(8, Map.of(), Map.of("h", new long[3]), edges))
                    .hasMessage("h: 3 counts, 4 edges");
        }
        Event event = events(files().getFirst()).getLast();
        assertThat(event.step).isEqualTo(7);
        assertThat(event.scalars).containsExactly(Map.entry("x", 1f));
        assertThat(event.histograms)
                .containsOnlyKeys("narrow", "wide")
                .containsEntry(
                        "narrow",
                        new Histogram(
                                List.of(0.0, 1.0, 4.0, 3 * 0.25 + 0.75, 3 * 0.0625 + 0.5625),
                                List.of(0.5, 1.0),
                                List.of(3.0, 1.0)))
                .containsEntry(
                        "wide",
                        new Histogram(
                                List.of(3.0, 5.0, 5.0, 20.0, 80.0), List.of(5.0), List.of(5.0)));
    }

    @Test
    void aResumedRunVoidsWhatItRepeats() throws IOException {
        TensorBoardWriter.open(run, 0, CLOCK).close();
        TensorBoardWriter.open(run, 31, CLOCK).close();
        assertThat(files()).hasSize(2);
        Event start = events(files().get(1)).get(1);
        assertThat(start.step).isEqualTo(31);
        assertThat(start.sessionStatus).isEqualTo(1);
    }

    @Test
    void aFileInTheWayIsBadInput() throws IOException {
        Files.writeString(run.resolve("tensorboard"), "");
        assertThatThrownBy(() -> TensorBoardWriter.open(run, 0))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("tensorboard");
    }
}
