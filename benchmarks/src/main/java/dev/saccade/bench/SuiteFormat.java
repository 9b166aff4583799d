package dev.saccade.bench;

import dev.saccade.bench.cuda.DeviceSuite;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.results.BenchmarkResult;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.format.OutputFormat;

/// What JMH says while it runs: of suites on a device a row of the table for each case, of others
/// what JMH always says.
final class SuiteFormat implements OutputFormat {
    /// The longest name of a case, about.
    private static final int NAME_WIDTH = 24;

    /// Of what JMH says around a case, only how far it is and what failed is worth a line here. And
    /// of what its process says, everything but that the Vector API incubates.
    private static final List<String> DROPPED =
            List.of("# Fork:", "# Warmup Fork:", "WARNING: Using incubator modules");

    private final OutputFormat jmh;
    private final PrintStream out;
    private final TableText text;
    private final List<TableRow> rows = new ArrayList<>();
    private @Nullable String pending;
    private final ByteArrayOutputStream said = new ByteArrayOutputStream();
    private boolean headed;
    private boolean failed;

    /// @param jmh says the rest
    SuiteFormat(OutputFormat jmh, PrintStream out, TableText text) {
        this.jmh = jmh;
        this.out = out;
        this.text = text;
    }

    /// The rows of the suites on a device.
    List<TableRow> rows() {
        return List.copyOf(rows);
    }

    /// Whether a case of them ended without a result.
    boolean failed() {
        return failed;
    }

    static boolean isDeviceSuite(String benchmark) {
        try {
            String type = benchmark.substring(0, benchmark.lastIndexOf('.'));
            ClassLoader loader = SuiteFormat.class.getClassLoader();
            return DeviceSuite.class.isAssignableFrom(Class.forName(type, false, loader));
        } catch (ClassNotFoundException _) {
            return false;
        }
    }

    private static boolean isDeviceSuite(BenchmarkParams params) {
        return isDeviceSuite(params.getBenchmark());
    }

    @Override
    public void startRun() {
        jmh.startRun();
    }

    @Override
    public void startBenchmark(BenchmarkParams params) {
        finish();
        if (!isDeviceSuite(params)) {
            jmh.startBenchmark(params);
            return;
        }
        if (!headed) {
            headed = true;
            text.terminalHead(NAME_WIDTH).forEach(out::println);
        }
        pending = params.getParam("name");
    }

    @Override
    public void iteration(BenchmarkParams params, IterationParams iteration, int number) {
        if (!isDeviceSuite(params)) {
            jmh.iteration(params, iteration, number);
        }
    }

    @Override
    public void iterationResult(
            BenchmarkParams params, IterationParams iteration, int number, IterationResult data) {
        if (!isDeviceSuite(params)) {
            jmh.iterationResult(params, iteration, number, data);
        }
    }

    @Override
    public void endBenchmark(@Nullable BenchmarkResult result) {
        String name = pending;
        if (said.size() > 0) {
            endLine();
        }
        if (name == null) {
            jmh.endBenchmark(result);
        } else if (result != null) {
            pending = null;
            Map<String, Result<?>> results = new LinkedHashMap<>();
            result.getSecondaryResults().forEach((label, value) -> results.put(label, value));
            add(SuiteRows.row(name, results));
        }
    }

    /// A case that started and did not end: its process failed, and JMH has printed how.
    private void finish() {
        String name = pending;
        if (name != null) {
            pending = null;
            failed = true;
            add(TableRow.empty(name, "failed: the reason is above"));
        }
    }

    private void add(TableRow row) {
        rows.add(row);
        out.println(text.terminal(NAME_WIDTH, row));
    }

    @Override
    public void endRun(Collection<RunResult> results) {
        finish();
        List<RunResult> others =
                results.stream().filter(result -> !isDeviceSuite(result.getParams())).toList();
        if (!others.isEmpty()) {
            jmh.endRun(others);
        }
    }

    @Override
    public void print(String text) {
        jmh.print(text);
    }

    @Override
    public void println(String line) {
        if (pending == null || !(line.isEmpty() || DROPPED.stream().anyMatch(line::startsWith))) {
            jmh.println(line);
        }
    }

    @Override
    public void verbosePrintln(String line) {
        jmh.verbosePrintln(line);
    }

    @Override
    public void write(int b) {
        if (pending == null) {
            jmh.write(b);
        } else if (b == '\n') {
            endLine();
        } else {
            said.write(b);
        }
    }

    @Override
    public void write(byte[] bytes) throws IOException {
        if (pending == null) {
            jmh.write(bytes);
        } else {
            for (byte b : bytes) {
                write(b);
            }
        }
    }

    /// Passes on a line that a case's process said.
    private void endLine() {
        String line = said.toString(StandardCharsets.UTF_8);
        said.reset();
        println(line);
    }

    @Override
    public void flush() {
        jmh.flush();
    }

    @Override
    public void close() {
        jmh.close();
    }
}
