package dev.saccade.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

final class SafetensorsTest {
    @TempDir Path folder;
    private final HostDevice device = HostDevice.open(1);
    private final Tape tape = Tape.inference(Kernels.of(device));

    @AfterEach
    void close() {
        tape.close();
        device.close();
    }

    private Path file(byte[] bytes) throws IOException {
        return Files.write(folder.resolve("x.safetensors"), bytes);
    }

    private Path file(String header, int dataBytes) throws IOException {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        return file(
                ByteBuffer.allocate(8 + json.length + dataBytes)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(json.length)
                        .put(json)
                        .array());
    }

    private static String fault(Path file) {
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            return "read " + reader.entries();
        } catch (InputException e) {
            String message = String.valueOf(e.getMessage());
            assertThat(message).startsWith(file + ": ").doesNotContain("\n");
            return message.substring(file.toString().length() + 2);
        }
    }

    @Test
    void writtenAndReadBack() throws IOException {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(
                "b.weight", tape.upload(new float[] {1, -2, 3.5f, Float.MIN_VALUE, 0, 6}, 2, 3));
        tensors.put("a", tape.upload(new int[] {7, -8}, 2));
        tensors.put("é", tape.upload(new byte[] {1, 0, 1}, 3));
        tensors.put("none", tape.upload(new float[0], 0, 4));
        tensors.put("long", tape.upload(new long[] {Long.MIN_VALUE}, 1));
        tensors.put("scalar", tape.upload(new float[] {4}));
        Path file = folder.resolve("x.safetensors");
        SafetensorsWriter.write(file, Map.of("z", "1", "format", "pt", "a", "ü"), tensors);
        byte[] bytes = Files.readAllBytes(file);
        long header = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
        assertThat(header % 8).isZero();
        assertThat(new String(bytes, 8, (int) header, StandardCharsets.UTF_8))
                .startsWith(
                        "{\"__metadata__\":{\"a\":\"ü\",\"format\":\"pt\",\"z\":\"1\"},"
                                + "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],"
                                + "\"data_offsets\":[0,24]},\"a\":{\"dtype\":\"I32\"")
                .containsPattern("\\}\\} *$");
        SafetensorsWriter.write(file, Map.of("a", "ü", "z", "1", "format", "pt"), tensors);
        assertThat(Files.readAllBytes(file)).isEqualTo(bytes);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            assertThat(reader.entries().keySet())
                    .containsExactlyInAnyOrderElementsOf(tensors.keySet());
            assertThat(reader.metadata()).hasSize(3).containsEntry("a", "ü");
            SafetensorsReader.Entry entry = reader.entries().get("a");
            assertThat(entry)
                    .isEqualTo(new SafetensorsReader.Entry("I32", Shape.of(2), 8 + header + 24, 8));
            assertThat(reader.bytes("a").get(ValueLayout.JAVA_INT_UNALIGNED, 4)).isEqualTo(-8);
            assertThat(reader.bytes("a").isReadOnly()).isTrue();
            Tensor weight = tape.zeros(2, 3);
            reader.read("b.weight", weight);
            assertThat(weight.toFloats()).containsExactly(1, -2, 3.5f, Float.MIN_VALUE, 0, 6);
            Tensor ints = tape.empty(DType.I32, 2);
            reader.read("a", ints);
            assertThat(ints.toInts()).containsExactly(7, -8);
            // A slice is filled and nothing beside it.
            Tensor rows = tape.zeros(4, 3);
            reader.read("b.weight", rows.slice(1, 2));
            assertThat(rows.toFloats())
                    .containsExactly(0, 0, 0, 1, -2, 3.5f, Float.MIN_VALUE, 0, 6, 0, 0, 0);
            assertThatThrownBy(() -> reader.read("c", weight))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("has no tensor c");
            assertThatThrownBy(() -> reader.read("a", weight))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("tensor a is [2], expected [2, 3]");
            Tensor floats = tape.zeros(2);
            assertThatThrownBy(() -> reader.read("a", floats))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("tensor a is I32, which can't be read as F32");
        }
    }

    @Test
    void theMetadataNameIsReserved() {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put("__metadata__", tape.zeros(1));
        assertThatThrownBy(() ->
                        SafetensorsWriter.write(folder.resolve("x"), Map.of("a", "b"), tensors))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void floatTypesAreConverted() throws IOException {
        float[] values = {0, -0f, 1, -1.5f, 65504, 1e-3f, Float.POSITIVE_INFINITY, 0x1p-24f};
        byte[] half = new byte[2 * values.length];
        byte[] brain = new byte[2 * values.length];
        byte[] wide = new byte[8 * values.length];
        ByteBuffer halves = ByteBuffer.wrap(half).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer brains = ByteBuffer.wrap(brain).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer wides = ByteBuffer.wrap(wide).order(ByteOrder.LITTLE_ENDIAN);
        float[] fromBrain = new float[values.length];
        float[] fromHalf = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            halves.putShort(Float.floatToFloat16(values[i]));
            fromHalf[i] = Float.float16ToFloat(Float.floatToFloat16(values[i]));
            int bits = Float.floatToRawIntBits(values[i]) & 0xffff0000;
            brains.putShort((short) (bits >>> 16));
            fromBrain[i] = Float.intBitsToFloat(bits);
            wides.putDouble(values[i]);
        }
        check("F16", half, fromHalf);
        check("BF16", brain, fromBrain);
        check("F64", wide, values);
    }

    private void check(String dtype, byte[] data, float[] expected) throws IOException {
        String header =
                "{\"x\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[0,%d]}}"
                        .formatted(dtype, expected.length, data.length);
        Path file = file(header, data.length);
        byte[] bytes = Files.readAllBytes(file);
        System.arraycopy(data, 0, bytes, bytes.length - data.length, data.length);
        Files.write(file, bytes);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            Tensor target = tape.zeros(expected.length);
            reader.read("x", target);
            assertThat(target.toFloats()).isEqualTo(expected);
        }
    }

    /// The host's rounding on the way to a half-precision device is the kernels' rounding.
    @Test
    void hostConversionAgreesWithTheKernel() {
        float[] values = new float[4096];
        for (int i = 0; i < values.length; i++) {
            values[i] = Float.intBitsToFloat((int) (i * 2654435761L));
            if (Float.isNaN(values[i])) {
                values[i] = i;
            }
        }
        values[0] = 1 + 0x1p-8f;
        values[1] = 1 + 3 * 0x1p-8f;
        values[2] = Float.MAX_VALUE;
        values[3] = -Float.MIN_VALUE;
        for (DType dtype : new DType[] {DType.F16, DType.BF16}) {
            Tensor host = tape.empty(dtype, values.length);
            HostFloats.upload(index -> values[(int) index], host.span());
            Tensor kernel = tape.empty(dtype, values.length);
            tape.kernels()
                    .elementwise()
                    .cast(values.length, tape.upload(values, values.length).span(), kernel.span());
            byte[][] bits = new byte[2][2 * values.length];
            device.download(host.span().buffer(), 0, MemorySegment.ofArray(bits[0]));
            device.download(kernel.span().buffer(), 0, MemorySegment.ofArray(bits[1]));
            assertThat(bits[0]).isEqualTo(bits[1]);
        }
        Tensor nan = tape.empty(DType.BF16, 1);
        HostFloats.upload(_ -> Float.intBitsToFloat(0x7f800001), nan.span());
        Tensor back = tape.empty(DType.F32, 1);
        tape.kernels().elementwise().cast(1, nan.span(), back.span());
        assertThat(back.toFloats()[0]).isNaN();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "{} | 0 | read {}",
                "{}    | 0 | read {}",
                "[] | 0 | has a header that isn't a JSON object",
                "{\"a\": | 0 | has a header that isn't JSON",
                "{} {} | 0 | has a header that isn't JSON",
                "{\"a\":1} | 0 | tensor a has the unknown type ''",
                "{\"a\":{\"dtype\":\"F5\",\"shape\":[1],\"data_offsets\":[0,4]}} | 4 | tensor a has"
                        + " the unknown type 'F5'",
                "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}} | 2 | tensor a, F4"
                        + " [3], does not fill its last byte",
                "{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[2,3],\"data_offsets\":[0,5]}} | 5 | tensor"
                        + " a, F6_E2M3 [2, 3], does not fill its last byte",
                "{\"a\\nb\":1} | 0 | tensor a\\u000ab has the unknown type ''",
                "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}} | 4 | tensor a has the"
                        + " unknown type '7'",
                "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}} | 4 | tensor a has no shape",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}} | 4 | tensor a has no data_offsets",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}} | 4 | tensor a has"
                        + " 1 data_offsets, expected 2",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}} | 4 | tensor a"
                        + " has -1 in its shape",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}} | 4 | tensor a"
                        + " has 1.5 in its shape",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}} | 4 | tensor"
                        + " a has \"1\" in its shape",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}} | 4 | tensor a"
                        + " has 4 bytes of data, F32 [2] needs 8",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}} | 4 | tensor a"
                        + " has -4 bytes of data",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}"
                        + " | 4 | tensor a has an impossible size",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}"
                        + " | 4 | tensor a has 99999999999999999999 in its shape",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,"
                        + "9223372036854775807]}} | 4 | tensor a has an impossible size",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}} | 8 | the data of"
                        + " tensor a begins at byte",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":"
                        + "\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}} | 12 | the data of"
                        + " tensor b begins at byte",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} | 5 | goes on to"
                        + " byte",
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":"
                        + "\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}} | 0 | has a header that"
                        + " isn't JSON",
                "{\"__metadata__\":{\"a\":1}} | 0 | __metadata__.a isn't a string",
                "{\"__metadata__\":\"a\"} | 0 | __metadata__ isn't a JSON object",
            })
    void badHeaders(String header, int dataBytes, String expected) throws IOException {
        assertThat(fault(file(header, dataBytes))).startsWith(expected);
    }

    @Test
    void truncatedFilesSayWhere() throws IOException {
        String header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}";
        byte[] whole = Files.readAllBytes(file(header, 12));
        for (int bytes = 0; bytes < whole.length; bytes++) {
            String fault = fault(file(Arrays.copyOf(whole, bytes)));
            if (bytes < 8) {
                assertThat(fault)
                        .isEqualTo(
                                "is no safetensors file, it has %d bytes; download or copy it"
                                        + " again",
                                bytes);
            } else if (bytes < 8 + header.length()) {
                assertThat(fault)
                        .isEqualTo(
                                "ends at byte %d, inside its header, which goes to byte %d;"
                                        + " download or copy it again",
                                bytes, 8 + header.length());
            } else {
                assertThat(fault)
                        .isEqualTo(
                                "ends at byte %d, its header promises %d; download or copy it"
                                        + " again",
                                bytes, whole.length);
            }
        }
        assertThat(fault(file(whole))).startsWith("read {a=");
    }

    @Test
    void otherFiles() throws IOException {
        assertThat(fault(folder.resolve("missing"))).startsWith("there is no such file");
        assertThat(fault(folder)).startsWith("is a folder");
        assertThat(fault(file("  {}", 0))).startsWith("has a header that isn't a JSON object");
        byte[] text =
                "version https://git-lfs.github.com/spec/v1\n".getBytes(StandardCharsets.UTF_8);
        assertThat(fault(file(text))).startsWith("is no safetensors file, its header would have");
        byte[] latin = {2, 0, 0, 0, 0, 0, 0, 0, '{', (byte) 0xff};
        assertThat(fault(file(latin))).startsWith("has a header that isn't UTF-8");
    }

    @Test
    void everyTypeOfTheFormatIsListed() throws IOException {
        for (String dtype :
                new String[] {
                    "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "U64", "I32", "U32",
                    "I16", "U16", "I8", "U8", "BOOL"
                }) {
            int width =
                    dtype.equals("BOOL") || dtype.startsWith("F8") || dtype.endsWith("8")
                            ? 1
                            : Integer.parseInt(dtype.replaceAll("\\D", "")) / 8;
            Path file =
                    file(
                            "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}"
                                    .formatted(dtype, 3 * width),
                            3 * width);
            assertThat(fault(file)).as(dtype).startsWith("read {x=Entry[dtype=" + dtype + ",");
        }
    }

    /// Every type can be listed and copied; the ones that aren't loaded are refused by name.
    @ParameterizedTest
    @EnumSource
    void everyTypeIsListedAndCopiedAsItIs(StoredType type) throws IOException {
        int bytes = (int) type.bytes(Shape.of(2, 4));
        assertThat(bytes).isPositive();
        String header =
                "{\"x\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%d]}}"
                        .formatted(type, bytes);
        Path file = file(header, bytes);
        byte[] all = Files.readAllBytes(file);
        for (int i = 0; i < bytes; i++) {
            all[all.length - bytes + i] = (byte) (i + 1);
        }
        Files.write(file, all);
        Path copy = folder.resolve("copy.safetensors");
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            SequencedMap<String, TensorContent> contents = new LinkedHashMap<>();
            contents.put("x", reader.content("x"));
            contents.put("second", reader.content("x", 1, 1));
            AtomicFiles.write(copy, SafetensorsWriter.content(Map.of(), contents));
            try (SafetensorsReader again = SafetensorsReader.open(copy)) {
                assertThat(again.bytes("x").mismatch(reader.bytes("x"))).isEqualTo(-1);
                assertThat(again.bytes("second").mismatch(reader.bytes("x").asSlice(bytes / 2)))
                        .isEqualTo(-1);
            }
            Tensor target = tape.zeros(2, 4);
            if (SafetensorsReader.isFloat(type.name())) {
                reader.read("x", target);
            } else {
                assertThatThrownBy(() -> reader.read("x", target))
                        .isInstanceOf(InputException.class)
                        .hasMessageContaining(
                                "tensor x is %s, which can't be read as F32", type.name());
            }
        }
    }

    @Test
    void rowsAreReadWhereTheyLie() throws IOException {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put("x", tape.upload(new float[] {1, 2, 3, 4, 5, 6}, 3, 2));
        Path file = folder.resolve("rows.safetensors");
        SafetensorsWriter.write(file, Map.of(), tensors);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            Tensor row = tape.zeros(1, 2);
            reader.readRows("x", 1, row);
            assertThat(row.toFloats()).containsExactly(3, 4);
            Tensor halves = tape.empty(DType.BF16, 2, 2);
            reader.readRows("x", 1, halves);
            assertThat(halves.toFloats()).containsExactly(3, 4, 5, 6);
            assertThatThrownBy(() -> reader.readRows("x", 2, halves))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @Test
    void tensorsAreStacked() throws IOException {
        TensorContent upper = TensorContent.of(tape.upload(new float[] {1, 2}, 1, 2));
        TensorContent lower = TensorContent.of(tape.upload(new float[] {3, 4, 5, 6}, 2, 2));
        SequencedMap<String, TensorContent> contents = new LinkedHashMap<>();
        contents.put("x", TensorContent.stacked(List.of(upper, lower)));
        Path file = folder.resolve("stacked.safetensors");
        AtomicFiles.write(file, SafetensorsWriter.content(Map.of(), contents));
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            Tensor target = tape.zeros(3, 2);
            reader.read("x", target);
            assertThat(target.toFloats()).containsExactly(1, 2, 3, 4, 5, 6);
        }
        TensorContent other = TensorContent.of(tape.zeros(1, 3));
        assertThatThrownBy(() -> TensorContent.stacked(List.of(upper, other)))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void shardsKeepTheirLimitAndTheIndexNamesThem() throws IOException {
        SequencedMap<String, TensorContent> contents = new LinkedHashMap<>();
        int[] elements = {2, 1, 7, 1, 1};
        for (int i = 0; i < elements.length; i++) {
            contents.put("t" + i, TensorContent.of(tape.zeros(elements[i])));
        }
        AtomicFiles.writeAll(ShardedSafetensors.files(folder, Map.of(), contents, 12));
        assertThat(Files.readString(folder.resolve("model.safetensors.index.json")))
                .isEqualTo(
                        """
                        {
                          "metadata" : {
                            "total_size" : 48
                          },
                          "weight_map" : {
                            "t0" : "model-00001-of-00003.safetensors",
                            "t1" : "model-00001-of-00003.safetensors",
                            "t2" : "model-00002-of-00003.safetensors",
                            "t3" : "model-00003-of-00003.safetensors",
                            "t4" : "model-00003-of-00003.safetensors"
                          }
                        }
                        """);
        try (SafetensorsReader reader =
                SafetensorsReader.open(folder.resolve("model-00003-of-00003.safetensors"))) {
            assertThat(reader.entries()).containsOnlyKeys("t3", "t4");
        }
        assertThat(ShardedSafetensors.files(folder, Map.of(), contents, 48))
                .containsOnlyKeys(folder.resolve("model.safetensors"));
    }

    /// Every BF16 and F16 number, and F32 numbers around each rounding of BF16, NaNs among them; in
    /// pieces for several workers, with an odd rest.
    @Test
    void conversionByAllWorkersGivesTheBitsOfEachElementAlone() throws IOException {
        int count = 5 * 65_536 + 7;
        byte[] half = new byte[2 * count];
        byte[] single = new byte[4 * count];
        ByteBuffer halves = ByteBuffer.wrap(half).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer singles = ByteBuffer.wrap(single).order(ByteOrder.LITTLE_ENDIAN);
        int[] low = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
        for (int i = 0; i < count; i++) {
            halves.putShort((short) i);
            singles.putInt((i << 16) | low[i / 65_536]);
        }
        int[] fromBrain = new int[count];
        int[] fromHalf = new int[count];
        short[] toBrain = new short[count];
        short[] toHalf = new short[count];
        for (int i = 0; i < count; i++) {
            fromBrain[i] = i << 16;
            fromHalf[i] = Float.floatToRawIntBits(Float.float16ToFloat((short) i));
            int bits = singles.getInt(4 * i);
            boolean nan = (bits & 0x7fffffff) > 0x7f800000;
            int rounded = (bits & 0xffff) > 0x8000 || (bits & 0x1ffff) == 0x18000 ? 1 : 0;
            toBrain[i] = (short) (nan ? (bits >>> 16) | 0x40 : (bits >>> 16) + rounded);
            toHalf[i] = Float.floatToFloat16(Float.intBitsToFloat(bits));
        }
        try (HostDevice several = HostDevice.open(3);
                Tape wide = Tape.inference(Kernels.of(several))) {
            for (Tape each : new Tape[] {tape, wide}) {
                assertThat(read(each, "BF16", half, count, DType.F32)).isEqualTo(bytes(fromBrain));
                assertThat(read(each, "F16", half, count, DType.F32)).isEqualTo(bytes(fromHalf));
                assertThat(read(each, "F32", single, count, DType.BF16)).isEqualTo(bytes(toBrain));
                assertThat(read(each, "F32", single, count, DType.F16)).isEqualTo(bytes(toHalf));
                assertThat(read(each, "F32", single, count, DType.F32)).isEqualTo(single);
            }
        }
    }

    private static byte[] bytes(int[] values) {
        return MemorySegment.ofArray(values).toArray(ValueLayout.JAVA_BYTE);
    }

    private static byte[] bytes(short[] values) {
        return MemorySegment.ofArray(values).toArray(ValueLayout.JAVA_BYTE);
    }

    /// Reads a file of one tensor into the middle of another.
    private byte[] read(Tape on, String stored, byte[] data, int count, DType type)
            throws IOException {
        String header =
                "{\"x\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[0,%d]}}"
                        .formatted(stored, count, data.length);
        Path file = file(header, 0);
        Files.write(file, data, StandardOpenOption.APPEND);
        Tensor target = on.empty(type, count + 3);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            reader.read("x", target.slice(1, count));
        }
        byte[] bits = new byte[count * type.bytes()];
        on.kernels()
                .device()
                .download(target.span().buffer(), type.bytes(), MemorySegment.ofArray(bits));
        return bits;
    }

    /// What a process holds while it reads a gigabyte into a few megabytes: its own memory and the
    /// mapping's pages stay far below what was read.
    @Test
    void readingHoldsNoMoreThanAFewPieces() throws IOException {
        Path status = Path.of("/proc/self/status");
        assumeTrue(Files.isReadable(status), "this system doesn't say what a process holds");
        int rows = 256;
        long width = 1L << 21;
        String header =
                "{\"x\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}"
                        .formatted(rows, width, 2L * rows * width);
        Path file = file(header, 0);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            // A hole: the file takes no room, and reading it is reading.
            channel.write(
                    ByteBuffer.wrap(new byte[] {0, 0x40}),
                    8L + header.length() + 2L * rows * width - 2);
        }
        try (HostDevice several = HostDevice.open(4);
                Tape memory = Tape.inference(Kernels.of(several));
                SafetensorsReader reader = SafetensorsReader.open(file)) {
            Tensor target = memory.empty(DType.F32, 4, width);
            reader.readRows("x", 0, target);
            long own = kilobytes(status, "RssAnon:");
            long mapped = kilobytes(status, "RssFile:");
            for (int row = 0; row < rows; row += 4) {
                reader.readRows("x", row, target);
            }
            assertThat(kilobytes(status, "RssFile:") - mapped).isLessThan(64 << 10);
            assertThat(kilobytes(status, "RssAnon:") - own).isLessThan(256 << 10);
            float[] last = target.toFloats();
            assertThat(last[last.length - 1]).isEqualTo(2);
            assertThat(last[last.length - 2]).isZero();
        }
    }

    private static long kilobytes(Path status, String key) throws IOException {
        for (String line : Files.readAllLines(status)) {
            if (line.startsWith(key)) {
                return Long.parseLong(line.replaceAll("\\D", ""));
            }
        }
        throw new AssertionError(key);
    }

    /// Refused in one line, not by a signal in the middle of a copy.
    @Test
    void aFileThatBecomesShorterIsNamed() throws IOException {
        String header = "{\"x\":{\"dtype\":\"F32\",\"shape\":[4096],\"data_offsets\":[0,16384]}}";
        Path file = file(header, 16_384);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
                channel.truncate(9_000);
            }
            Tensor target = tape.zeros(4096);
            assertThatThrownBy(() -> reader.read("x", target))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining(file + ": ends before byte");
        }
    }

    /// Larger than an int can address; the file has a hole, so it takes no room.
    @Test
    void filesBeyondTwoGigabytes() throws IOException {
        long elements = (1L << 31) + 16;
        String header =
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[0,%d]},"
                                .formatted(elements, elements)
                        + "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%d,%d]}}"
                                .formatted(elements, elements + 8);
        Path file = file(header, 0);
        ByteBuffer last = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
        last.putFloat(1.25f).putFloat(-3).flip();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.write(last, 8L + header.length() + elements);
        }
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            Tensor b = tape.zeros(2);
            reader.read("b", b);
            assertThat(b.toFloats()).containsExactly(1.25f, -3);
        }
    }
}
