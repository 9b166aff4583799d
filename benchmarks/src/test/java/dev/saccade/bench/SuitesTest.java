package dev.saccade.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.bench.cuda.AttentionBench;
import dev.saccade.bench.cuda.ConnectorBench;
import dev.saccade.bench.cuda.DeviceSuite;
import dev.saccade.bench.cuda.EntropyBench;
import dev.saccade.bench.cuda.GemmBench;
import dev.saccade.bench.cuda.LmHeadBench;
import dev.saccade.bench.cuda.OperationBench;
import dev.saccade.engine.InputException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.results.AggregationPolicy;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.ScalarResult;

final class SuitesTest {

    @ParameterizedTest
    @ValueSource(
            classes = {
                GemmBench.class,
                AttentionBench.class,
                EntropyBench.class,
                LmHeadBench.class,
                ConnectorBench.class,
                OperationBench.class
            })
    void aSuitesCasesAreInTheList(Class<? extends DeviceSuite> suite)
            throws ReflectiveOperationException {
        String[] names =
                Objects.requireNonNull(suite.getField("name").getAnnotation(Param.class)).value();
        assertThat(names).isNotEmpty().doesNotHaveDuplicates();
        for (String name : names) {
            assertThat(Case.named(name).name()).isEqualTo(name);
        }
        assertThat(SuiteFormat.isDeviceSuite(suite.getName() + ".run")).isTrue();
    }

    @Test
    void suitesOfTheHostAreNoDeviceSuites() {
        assertThat(SuiteFormat.isDeviceSuite("dev.saccade.bench.GemmBench.multiply")).isFalse();
        assertThat(SuiteFormat.isDeviceSuite("dev.saccade.bench.cuda.LaunchBench.launch"))
                .isFalse();
        assertThat(SuiteFormat.isDeviceSuite("nothing.here")).isFalse();
    }

    @Test
    void anUnknownCaseIsNamed() {
        assertThatThrownBy(() -> Case.named("gemm/none"))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("case gemm/none");
    }

    private static Map<String, Result<?>> results(List<Measure> measures) {
        Map<String, Result<?>> results = new LinkedHashMap<>();
        for (Measure measure : measures) {
            results.put(
                    measure.label(),
                    new ScalarResult(
                            measure.label(),
                            measure.value(),
                            measure.unit(),
                            AggregationPolicy.AVG));
        }
        return results;
    }

    @Test
    void aRowIsReadFromSecondaryResults() {
        TableRow row =
                SuiteRows.row(
                        "gemm/x",
                        results(
                                List.of(
                                        new Measure("device", 2000, "us"),
                                        new Measure("error", 1.5e-3, "relative"),
                                        new Measure("allowed", 3e-3, "relative"),
                                        new Measure("peer.cublaslt.device", 1500, "us"),
                                        new Measure("peer.cublaslt.error", 1.4e-3, "relative"),
                                        new Measure("peer.cublaslt.allowed", 3e-3, "relative"),
                                        new Measure("arithmetic", 1.2, "TFLOP"),
                                        new Measure("peak.product.cublaslt", 800, "TFLOP/s"),
                                        new Measure("traffic", 1, "GB"),
                                        new Measure("peak.copy", 2500, "GB/s"))));
        assertThat(row.peaks().by()).isEqualTo("cublaslt");
        assertThat(row.peaks().flops()).isCloseTo(8e14, within(1e3));
        assertThat(row.accuracy()).isEqualTo(new Accuracy(1.5e-3, 3e-3));
        assertThat(row.others())
                .containsExactly(
                        new TableRow.Other(
                                "cublaslt",
                                new Race.Times(1500, 1500, 1500),
                                new Accuracy(1.4e-3, 3e-3)));
        assertThat(new TableText(Map.of()).markdown(List.of(row)))
                .contains(
                        "| gemm/x | 2000 | 0.000 | 600 | 75.0 | 500 | 20.0 | 1.5e-3 | 3.0e-3 |"
                                + " cublaslt | 1500 | 75.0 |");
    }

    @Test
    void withoutATimeTheRowSaysSo() {
        TableRow row = SuiteRows.row("gemm/x", results(List.of()));
        assertThat(row.ours()).isNull();
        assertThat(row.note()).isEqualTo("the suite measured nothing");
    }

    @Test
    void whatOtherProcessesMeasuredJoinsItsRow(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("torch.jsonl");
        Files.writeString(file, "{\"case\": \"b\", \"peer\": \"torch\", \"microseconds\": 7.5}\n");
        List<TableRow> rows =
                Suites.merge(
                        List.of(TableRow.empty("a", ""), TableRow.empty("b", "")),
                        List.of(PeerFile.read(file)));
        assertThat(rows.get(0).best()).isNull();
        assertThat(Objects.requireNonNull(rows.get(1).best()).peer()).isEqualTo("torch");
    }

    @Test
    void badOptionsAreOneLine() {
        PrintStream out =
                new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
        for (List<String> arguments :
                List.of(
                        List.of("--device", "gpu"),
                        List.of("--device"),
                        List.of("--merge", "/nowhere/at.jsonl", "--device", "cpu"),
                        List.of("--device", "cpu", "-f", "x"),
                        List.of("--device", "cpu", "GemmBench", "-p", "name=gemm/1b/qkv"),
                        List.of("--device", "cpu", "NoSuchBench"))) {
            assertThatThrownBy(() -> Suites.run(arguments, out, out))
                    .as(arguments.toString())
                    .isInstanceOf(InputException.class);
        }
    }
}
