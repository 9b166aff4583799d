package dev.saccade.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

final class DeviceTableTest {
    private static final Set<String> CUDA_ONLY = Set.of("launch", "replay", "upload", "download");

    static List<Case> tinyCases() {
        return Case.read(Case.TINY).stream()
                .filter(work -> !CUDA_ONLY.contains(work.text("op")))
                .toList();
    }

    @ParameterizedTest
    @MethodSource("tinyCases")
    void everyCaseRunsAndFindsItsResultsRight(Case work) {
        try (HostDevice device = HostDevice.open(2);
                Workbench bench = new Workbench(device, Peers.NONE, Workbench.TINY_NOISE)) {
            PreparedCase prepared = Cases.prepare(work, bench);
            prepared.check();
            Accuracy accuracy = bench.takeAccuracy();
            boolean compares = !work.text("op").equals("allocate");
            assertThat(accuracy.isKnown()).isEqualTo(compares);
            if (compares) {
                assertThat(accuracy.error()).isLessThanOrEqualTo(accuracy.allowed());
            }
            assertThat(prepared.bytes() + prepared.flops() > 0)
                    .isEqualTo(!work.text("op").equals("allocate"));
        }
    }

    @Test
    void aWrongResultIsFound() {
        try (HostDevice device = HostDevice.open(1);
                Workbench bench = new Workbench(device, Peers.NONE, Workbench.TINY_NOISE)) {
            PreparedCase prepared =
                    Cases.prepare(Case.parse("x op=gemm layout=NT m=5 n=7 k=9"), bench);
            prepared.reset().run();
            assertThatThrownBy(prepared.compare()::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageStartingWith("wrong result: c[4, 6] is NaN");
        }
    }

    @Test
    void theListsNameEachCaseOnceAndEveryOperationHasATinyCase() {
        Set<String> operations = new HashSet<>();
        Case.read(Case.TINY).forEach(work -> operations.add(work.text("op")));
        Set<String> names = new HashSet<>();
        for (Case work : Case.read(Case.FULL)) {
            assertThat(names.add(work.name())).as(work.name()).isTrue();
            assertThat(operations).contains(work.text("op"));
        }
        assertThat(names).hasSizeGreaterThan(60);
    }

    @Test
    void anUnknownOperationIsNamed() {
        try (HostDevice device = HostDevice.open(1);
                Workbench bench = new Workbench(device, Peers.NONE, Workbench.TINY_NOISE)) {
            assertThatThrownBy(() -> Cases.prepare(Case.parse("x op=nothing"), bench))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("there is no operation 'nothing'");
        }
    }

    @Test
    void operandsAreKnownOnTheHost() {
        try (HostDevice device = HostDevice.open(1);
                Workbench bench = new Workbench(device, Peers.NONE, 101)) {
            Operand first = bench.normal(DType.F32, 250, 2);
            Operand second = bench.normal(DType.BF16, 250, 1);
            for (int i = 0; i < 250; i++) {
                assertThat(bench.read(first.set(0), i)).isEqualTo(first.value(i));
                assertThat(bench.read(second.set(0), i)).isEqualTo(second.value(i));
            }
            assertThat(bench.read(first.set(1), 0)).isNotEqualTo(first.value(0));
        }
    }

    @Test
    void timesAreTheMedianAndTheQuartiles() {
        Race.Times odd = Race.Times.of(new double[] {5, 1, 4, 2, 3});
        assertThat(odd).isEqualTo(new Race.Times(3, 2, 4));
        assertThat(Race.Times.of(new double[] {4, 2}).median()).isEqualTo(3);
    }

    @Test
    void ratesAreComputedFromBytesAndOperations() {
        TableText text = new TableText(Map.of("device", "none"));
        Accuracy none = Accuracy.UNKNOWN;
        TableRow row =
                new TableRow(
                        "gemm/x",
                        2e12,
                        1e9,
                        new Peaks(2e15, "fast", 4e12),
                        new Race.Times(2000, 1980, 2020),
                        new Accuracy(0, 1e-12),
                        List.of(
                                new TableRow.Other("slow", new Race.Times(4000, 4000, 4000), none),
                                new TableRow.Other("fast", new Race.Times(1500, 1500, 1500), none)),
                        "");
        assertThat(text.markdown(List.of(row)))
                .contains(
                        "| gemm/x | 2000 | 1.00 | 1000 | 50.0 | 500 | 12.5 | 0 | 1.0e-12 |"
                                + " fast | 1500 | 75.0 |");
        assertThat(text.terminalHead(10)).allMatch(line -> line.length() <= 120);
        assertThat(text.terminal(10, row)).hasSizeLessThanOrEqualTo(120);
        assertThat(text.terminal(10, row)).startsWith("gemm/x ").contains(" fast ");
    }

    @Test
    void theTableIsWrittenAndMergesWhatAPeerMeasured(@TempDir Path folder) throws IOException {
        Path peers = folder.resolve("torch.jsonl");
        Files.writeString(
                peers,
                """
                {"head": {"torch": "2.11"}}
                {"case": "add", "peer": "torch", "microseconds": 0.5, "low": 0.4, "high": 0.6}
                {"case": "elsewhere", "peer": "torch", "microseconds": 1}
                """);
        Path json = folder.resolve("table.json");
        Path markdown = folder.resolve("table.md");
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        int status =
                DeviceTable.run(
                        List.of(
                                "--tiny",
                                "--device",
                                "cpu",
                                "^add$",
                                "--seconds",
                                "0.01",
                                "--merge",
                                peers.toString(),
                                "--out",
                                json.toString(),
                                "--out",
                                markdown.toString()),
                        new PrintStream(bytes, true, StandardCharsets.UTF_8));
        assertThat(status).isZero();
        assertThat(bytes.toString(StandardCharsets.UTF_8)).contains("torch: 2.11").contains("add ");
        JsonNode root = JsonMapper.builder().build().readTree(Files.readString(json));
        JsonNode row = root.get("cases").get(0);
        assertThat(row.get("case").asString()).isEqualTo("add");
        assertThat(row.get("saccade").get("microseconds").asDouble()).isPositive();
        assertThat(row.get("saccade").get("error").asDouble())
                .isLessThan(row.get("saccade").get("allowedError").asDouble());
        assertThat(row.get("peers").get("torch").get("high").asDouble()).isEqualTo(0.6);
        assertThat(Files.readString(markdown)).contains("| add |").contains("| torch |");
    }

    @Test
    void badOptionsAreOneLine(@TempDir Path folder) {
        PrintStream out =
                new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
        for (List<String> arguments :
                List.of(
                        List.of("--nothing"),
                        List.of("--device"),
                        List.of("--device", "gpu"),
                        List.of("--seconds", "x"),
                        List.of("("),
                        List.of("no-such-case"),
                        List.of("--merge", folder.resolve("missing").toString()))) {
            assertThatThrownBy(() -> DeviceTable.run(arguments, out))
                    .as(arguments.toString())
                    .isInstanceOf(InputException.class);
        }
    }
}
