package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.internal.cuda.CudaDriver;
import dev.saccade.engine.internal.cuda.Structs;
import java.io.IOException;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What the bindings say of cuda.h, compared with what a C compiler makes of it. Skipped with the
/// reason where there is no gcc or no cuda.h.
class HeaderTest {

    private static final List<StructLayout> STRUCTS =
            List.of(
                    Structs.LAUNCH_CONFIG,
                    Structs.LAUNCH_ATTRIBUTE,
                    Structs.TENSOR_MAP,
                    Structs.GRAPH_EXEC_UPDATE_RESULT_INFO);

    /// Java's prefixes of constants, and the header's; every other constant is an error code.
    private static final Map<String, String> PREFIXES =
            Map.of(
                    "DEVICE_ATTRIBUTE_", "CU_DEVICE_ATTRIBUTE_",
                    "FUNC_ATTRIBUTE_", "CU_FUNC_ATTRIBUTE_",
                    "COMPUTEMODE_", "CU_COMPUTEMODE_",
                    "STREAM_NON_BLOCKING", "CU_STREAM_NON_BLOCKING",
                    "STREAM_CAPTURE_MODE_", "CU_STREAM_CAPTURE_MODE_",
                    "EVENT_", "CU_EVENT_",
                    "MEMHOSTALLOC_", "CU_MEMHOSTALLOC_");

    @TempDir Path folder;

    /// Compiles a program that prints these expressions; their values.
    private List<Long> values(List<String> expressions) throws IOException {
        StringBuilder code =
                new StringBuilder("#include <cuda.h>\n#include <stddef.h>\n#include <stdio.h>\n");
        code.append("int main(void) {\n");
        for (String expression : expressions) {
            code.append("  printf(\"%ld\\n\", (long)(").append(expression).append("));\n");
        }
        Path source = folder.resolve("header.c");
        Files.writeString(source, code.append("}\n"));
        Path program = folder.resolve("header");
        FakeCuda.compile(List.of(), source, program);
        List<Long> values =
                FakeCuda.run(List.of(program.toString())).lines().map(Long::valueOf).toList();
        assertThat(values).hasSameSizeAs(expressions);
        return values;
    }

    @Test
    void structsAreLaidOutAsTheCompilerDoes() throws IOException {
        List<String> expressions = new ArrayList<>();
        List<Long> expected = new ArrayList<>();
        for (StructLayout struct : STRUCTS) {
            String type = struct.name().orElseThrow();
            expressions.add("sizeof(" + type + ")");
            expected.add(struct.byteSize());
            expressions.add("_Alignof(" + type + ")");
            expected.add(struct.byteAlignment());
            for (MemoryLayout member : struct.memberLayouts()) {
                if (member.name().isPresent()) {
                    String name = member.name().get();
                    expressions.add("offsetof(" + type + ", " + name + ")");
                    expected.add(struct.byteOffset(PathElement.groupElement(name)));
                    expressions.add("sizeof(((" + type + "*)0)->" + name + ")");
                    expected.add(member.byteSize());
                }
            }
        }
        // The parts of an attribute's value that are set.
        expressions.add("offsetof(CUlaunchAttributeValue, clusterDim.z)");
        expected.add(8L);
        expressions.add("offsetof(CUlaunchAttributeValue, programmaticStreamSerializationAllowed)");
        expected.add(0L);
        assertEqual(expressions, expected);
    }

    @Test
    void constantsAreTheHeaders() throws IOException, IllegalAccessException {
        List<String> expressions = new ArrayList<>();
        List<Long> expected = new ArrayList<>();
        for (Field field : CudaDriver.class.getFields()) {
            String name = field.getName();
            String prefix =
                    PREFIXES.keySet().stream().filter(name::startsWith).findFirst().orElse("");
            expressions.add(
                    name.equals("SUCCESS")
                            ? "CUDA_SUCCESS"
                            : PREFIXES.getOrDefault(prefix, "CUDA_ERROR_")
                                    + name.substring(prefix.length()));
            expected.add((long) field.getInt(null));
        }
        assertThat(expressions).hasSizeGreaterThan(40);
        for (TensorMap.Element element : TensorMap.Element.values()) {
            expressions.add("CU_TENSOR_MAP_DATA_TYPE_" + element);
            expected.add((long) element.code());
        }
        for (TensorMap.Swizzle swizzle : TensorMap.Swizzle.values()) {
            expressions.add("CU_TENSOR_MAP_SWIZZLE_" + cName(swizzle.name()));
            expected.add((long) swizzle.code());
        }
        for (TensorMap.Promotion promotion : TensorMap.Promotion.values()) {
            String name = cName(promotion.name());
            expressions.add(
                    "CU_TENSOR_MAP_L2_PROMOTION_" + (name.equals("NONE") ? name : "L2_" + name));
            expected.add((long) promotion.code());
        }
        expressions.add("CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION");
        expected.add((long) Structs.ATTRIBUTE_CLUSTER_DIMENSION);
        expressions.add("CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION");
        expected.add((long) Structs.ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
        assertEqual(expressions, expected);
    }

    /// The list for jextract has what is bound, no more and no less, by the names that the header's
    /// macros give them.
    @Test
    void theListForJextractIsComplete() throws IOException, ClassNotFoundException {
        assumeTrue(
                values(List.of("CUDA_VERSION")).getFirst() == 13_000,
                "the list has the names of CUDA 13.0");
        String name = CudaDriver.class.getPackageName() + ".FfmCudaDriver$Functions";
        Class<?> functions = Class.forName(name, false, CudaDriver.class.getClassLoader());
        String plainNames =
                Stream.of(functions.getDeclaredFields())
                        .map(Field::getName)
                        .filter(field -> field.startsWith("cu"))
                        .map(field -> "bound " + field + "\n")
                        .collect(Collectors.joining());
        Path source = folder.resolve("names.c");
        Files.writeString(source, "#include <cuda.h>\n" + plainNames + "bound cuGetProcAddress\n");
        assertThat(listed("--include-function "))
                .containsExactlyInAnyOrderElementsOf(
                        FakeCuda.preprocess(source)
                                .lines()
                                .filter(line -> line.startsWith("bound "))
                                .map(line -> line.substring("bound ".length()))
                                .toList());
        assertThat(listed("--include-struct "))
                .containsExactlyInAnyOrderElementsOf(
                        STRUCTS.stream().map(s -> s.name().orElseThrow() + "_st").toList());
    }

    private static List<String> listed(String option) throws IOException {
        return Files.readAllLines(Path.of("src/main/jextract/cuda.args")).stream()
                .filter(line -> line.startsWith(option))
                .map(line -> line.substring(option.length()))
                .toList();
    }

    /// 128B for B128.
    private static String cName(String name) {
        return name.startsWith("B") ? name.substring(1) + "B" : name;
    }

    private void assertEqual(List<String> expressions, List<Long> expected) throws IOException {
        List<Long> actual = values(expressions);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(expected.get(i)).as(expressions.get(i)).isEqualTo(actual.get(i));
        }
    }
}
