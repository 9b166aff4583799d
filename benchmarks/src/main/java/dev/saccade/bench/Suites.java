package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.InputException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.format.OutputFormat;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.VerboseMode;

/// JMH's command line on the suites of this build. Where there is a CUDA device, suites of that
/// name run on it and not on the CPU, beside the peers that were found, PyTorch included.
final class Suites {
    /// Suites of a device.
    private static final String CUDA_SUITES = "^dev\\.saccade\\.bench\\.cuda\\..*";

    /// Suites of the CPU that have a suite of the same name for a device.
    private static final String CPU_TWINS =
            "^dev\\.saccade\\.bench\\.(Attention|Entropy|Gemm)Bench\\..*";

    private final List<String> forJmh = new ArrayList<>();
    private final List<Path> merged = new ArrayList<>();
    private final List<Path> outputs = new ArrayList<>();
    private final PrintStream out;
    private final PrintStream log;
    private String device = "";
    private boolean torch = true;

    private Suites(List<String> arguments, PrintStream out, PrintStream log) {
        this.out = out;
        this.log = log;
        for (int i = 0; i < arguments.size(); i++) {
            String argument = arguments.get(i);
            switch (argument) {
                case "--device" -> device = value(arguments, ++i);
                case "--merge" -> merged.add(Path.of(value(arguments, ++i)));
                case "--out" -> outputs.add(Path.of(value(arguments, ++i)));
                case "--no-torch" -> torch = false;
                default -> forJmh.add(argument);
            }
        }
        if (!List.of("", "cpu", "cuda").contains(device)) {
            throw new InputException(
                    "--device", "'" + device + "' is no device", "use cpu or cuda");
        }
    }

    private static String value(List<String> arguments, int index) {
        if (index >= arguments.size()) {
            throw new InputException(
                    arguments.getLast(), "needs a value", "see docs/guide/benchmarks.md");
        }
        return arguments.get(index);
    }

    /// Runs what the arguments choose.
    ///
    /// @param log gets what is no result
    /// @return the status to exit with: 1 when a case failed
    static int run(List<String> arguments, PrintStream out, PrintStream log) throws IOException {
        return new Suites(arguments, out, log).run();
    }

    private int run() throws IOException {
        if (forJmh.stream().anyMatch(word -> word.equals("-h") || word.startsWith("-l"))) {
            org.openjdk.jmh.Main.main(forJmh.toArray(String[]::new));
            return 0;
        }
        boolean cuda = onCuda(CudaDevice.probe());
        if (!cuda && forJmh.stream().anyMatch(word -> word.startsWith("name="))) {
            throw new InputException(
                    "-p name=",
                    "names cases of a CUDA device's suites, and none is used",
                    "leave it out for the CPU's suites");
        }
        forJmh.addAll(List.of("-e", cuda ? CPU_TWINS : CUDA_SUITES));
        if (cuda) {
            forJmh.addAll(List.of("-prof", DeviceProfiler.class.getName()));
        }
        List<PeerFile> files = new ArrayList<>(merged.stream().map(PeerFile::read).toList());
        try {
            CommandLineOptions options = new CommandLineOptions(forJmh.toArray(String[]::new));
            if (options.getOutput().hasValue()) {
                new Runner(options).run(); // into a file, as JMH writes it
                return 0;
            }
            return run(options, cuda, files);
        } catch (CommandLineOptionException | RunnerException e) {
            throw new InputException(
                    "bench", Entrants.firstLine(e), "-h lists the options, -l the suites");
        }
    }

    private boolean onCuda(CudaProbe probe) {
        if (device.equals("cpu")) {
            return false;
        }
        if (probe.usable()) {
            return true;
        }
        if (device.equals("cuda")) {
            throw new InputException(
                    "--device cuda", String.valueOf(probe.reason()), "use --device cpu");
        }
        log.println("saccade: CUDA suites are left out: " + probe.reason());
        return false;
    }

    private int run(CommandLineOptions options, boolean cuda, List<PeerFile> files)
            throws RunnerException {
        Map<String, String> head = cuda ? head(files) : new LinkedHashMap<>();
        OutputFormat jmh =
                OutputFormatFactory.createFormatInstance(
                        out, options.verbosity().orElse(VerboseMode.NORMAL));
        SuiteFormat format = new SuiteFormat(jmh, out, new TableText(head));
        new Runner(options, format).run();
        if (format.rows().isEmpty()) {
            return 0;
        }
        if (torch) {
            PeerFile measured = torch(format.rows());
            if (measured != null) {
                files.add(measured);
                head.putAll(measured.head());
            }
        }
        List<TableRow> rows = merge(format.rows(), files);
        TableText text = new TableText(head);
        if (!files.isEmpty()) {
            int width = rows.stream().mapToInt(row -> row.name().length()).max().orElse(0);
            text.terminalHead(width).forEach(out::println);
            rows.forEach(row -> out.println(text.terminal(width, row)));
        }
        text.write(outputs, rows);
        return format.failed() ? 1 : 0;
    }

    private static Map<String, String> head(List<PeerFile> files) {
        try (CudaDevice opened = CudaDevice.open(0);
                Peers peers = Peers.open(opened)) {
            return DeviceTable.head(opened, peers, files);
        }
    }

    private @Nullable PeerFile torch(List<TableRow> rows) {
        return new TorchPeers(System.getenv(), log)
                .measure(rows.stream().map(TableRow::name).distinct().toList());
    }

    /// The rows with what other processes measured.
    static List<TableRow> merge(List<TableRow> rows, List<PeerFile> files) {
        List<TableRow> all = new ArrayList<>();
        for (TableRow row : rows) {
            TableRow full = row;
            for (PeerFile file : files) {
                full = file.addTo(full);
            }
            all.add(full);
        }
        return all;
    }
}
