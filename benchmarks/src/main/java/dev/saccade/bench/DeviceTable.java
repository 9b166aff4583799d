package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.engine.OutOfDeviceMemoryException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// The whole table of a device in minutes: every case of the list is checked against exact samples,
/// then measured in turns with each peer that is there (`./saccade bench --table`).
final class DeviceTable {
    /// What `--help` prints.
    static final String USAGE =
            """
            usage: ./saccade bench --table [PATTERN] [options]

            Measures the operations of a device, each checked first, beside the peers found here.
            PATTERN is a regular expression; a case is measured when its name contains a match.

              --device cpu|cuda[:N]  default: cuda:0 where there is one
              --tiny                 sizes for a CPU: shows that every case works
              --seconds S            about how long each entrant of a case runs (default 0.2)
              --torch                measures PyTorch on the same cases first, where python3 has it
              --merge FILE           adds what torch_peers.py measured; may be repeated
              --out FILE             writes the table: FILE.md as Markdown, otherwise as JSON;
                                     may be repeated
              --list                 only lists the cases
            """;

    private final Options options;
    private final PrintStream out;

    private DeviceTable(Options options, PrintStream out) {
        this.options = options;
        this.out = out;
    }

    /// What the command line asks for.
    private static final class Options {
        private Pattern pattern = Pattern.compile("");
        private String device = "";
        private boolean tiny;
        private boolean list;
        private boolean torch;
        private double seconds = 0.2;
        private final List<Path> merged = new ArrayList<>();
        private final List<Path> outputs = new ArrayList<>();

        static Options parse(List<String> arguments) {
            Options options = new Options();
            for (int i = 0; i < arguments.size(); i++) {
                String argument = arguments.get(i);
                switch (argument) {
                    case "--tiny" -> options.tiny = true;
                    case "--list" -> options.list = true;
                    case "--torch" -> options.torch = true;
                    case "--device" -> options.device = value(arguments, ++i);
                    case "--seconds" -> options.seconds = seconds(value(arguments, ++i));
                    case "--merge" -> options.merged.add(Path.of(value(arguments, ++i)));
                    case "--out" -> options.outputs.add(Path.of(value(arguments, ++i)));
                    default -> options.pattern = pattern(argument);
                }
            }
            return options;
        }

        private static String value(List<String> arguments, int index) {
            if (index >= arguments.size()) {
                throw new InputException(
                        arguments.getLast(), "needs a value", "see ./saccade bench --table --help");
            }
            return arguments.get(index);
        }

        private static double seconds(String text) {
            try {
                return Double.parseDouble(text);
            } catch (NumberFormatException _) {
                throw new InputException(
                        "--seconds", "'" + text + "' is no number", "give one, as 0.2");
            }
        }

        private static Pattern pattern(String text) {
            if (text.startsWith("--")) {
                throw new InputException(
                        text, "is no option of the table", "see ./saccade bench --table --help");
            }
            try {
                return Pattern.compile(text);
            } catch (PatternSyntaxException e) {
                throw new InputException(
                        "pattern " + text, e.getDescription(), "give a regular expression");
            }
        }
    }

    /// Measures what the options ask for.
    ///
    /// @param arguments those after `--table`
    /// @return the status to exit with: 1 when a case computed something wrong
    static int run(List<String> arguments, PrintStream out) {
        return new DeviceTable(Options.parse(arguments), out).run();
    }

    private int run() {
        List<Case> cases =
                Case.read(options.tiny ? Case.TINY : Case.FULL).stream()
                        .filter(work -> options.pattern.matcher(work.name()).find())
                        .toList();
        if (cases.isEmpty()) {
            throw new InputException(
                    "pattern " + options.pattern, "no case matches", "--list shows their names");
        }
        if (options.list) {
            cases.forEach(work -> out.println(work.name() + " " + work.parameters()));
            return 0;
        }
        List<PeerFile> files =
                new ArrayList<>(options.merged.stream().map(PeerFile::read).toList());
        if (options.torch) {
            PeerFile torch =
                    new TorchPeers(System.getenv(), out)
                            .measure(cases.stream().map(Case::name).toList());
            if (torch != null) {
                files.add(torch);
            }
        }
        try (Device device = open(options.device)) {
            Peers peers = device instanceof CudaDevice cuda ? Peers.open(cuda) : Peers.NONE;
            try {
                return measure(cases, files, device, peers);
            } finally {
                peers.close();
            }
        }
    }

    private static Device open(String name) {
        CudaProbe probe = CudaDevice.probe();
        if (name.equals("cpu") || (name.isEmpty() && !probe.usable())) {
            return HostDevice.open();
        }
        if (name.isEmpty() || name.equals("cuda")) {
            return CudaDevice.open(0);
        }
        if (!name.matches("cuda:[0-9]{1,3}")) {
            throw new InputException(
                    "--device", "'" + name + "' is no device", "use cpu, cuda or cuda:N");
        }
        return CudaDevice.open(Integer.parseInt(name.substring("cuda:".length())));
    }

    private int measure(List<Case> cases, List<PeerFile> files, Device device, Peers peers) {
        int noise = options.tiny ? Workbench.TINY_NOISE : Workbench.FULL_NOISE;
        int nameWidth = cases.stream().mapToInt(work -> work.name().length()).max().orElse(0);
        List<TableRow> rows = new ArrayList<>();
        int wrong = 0;
        try (Workbench bench = new Workbench(device, peers, noise);
                Race race = new Race(device)) {
            Map<String, String> head = head(device, peers, files);
            Peaks peaks = Peaks.measure(bench, race, options.seconds);
            if (!peaks.text().isEmpty()) {
                head.put("peaks", peaks.text());
            }
            TableText text = new TableText(head);
            text.terminalHead(nameWidth).forEach(out::println);
            for (Case work : cases) {
                TableRow row = measure(work, bench, race, peaks);
                for (PeerFile file : files) {
                    row = file.addTo(row);
                }
                if (row.note().startsWith("wrong")) {
                    wrong++;
                }
                rows.add(row);
                out.println(text.terminal(nameWidth, row));
                text.write(options.outputs, rows);
            }
        }
        if (wrong > 0) {
            out.println(wrong + (wrong == 1 ? " case computes" : " cases compute") + " wrongly");
        }
        return wrong == 0 ? 0 : 1;
    }

    /// What is measured with.
    static Map<String, String> head(Device device, Peers peers, List<PeerFile> files) {
        Map<String, String> head = new LinkedHashMap<>();
        head.put("date", LocalDate.now(ZoneOffset.UTC).toString());
        if (device instanceof CudaDevice cuda) {
            CudaProbe probe = CudaDevice.probe();
            head.put(
                    "device",
                    "%s, %d multiprocessors, driver for CUDA %d.%d, binding %s"
                            .formatted(
                                    cuda.properties().name(),
                                    cuda.properties().multiprocessors(),
                                    probe.driverVersion() / 1000,
                                    probe.driverVersion() % 1000 / 10,
                                    probe.binding()));
        } else {
            head.put(
                    "device", "cpu, " + Runtime.getRuntime().availableProcessors() + " processors");
        }
        head.put("java", System.getProperty("java.vm.version", "unknown"));
        for (String line : peers.describe()) {
            int colon = line.indexOf(": ");
            head.put("peer " + line.substring(0, colon), line.substring(colon + 2));
        }
        files.forEach(file -> head.putAll(file.head()));
        return head;
    }

    private TableRow measure(Case work, Workbench bench, Race race, Peaks peaks) {
        try {
            return measure(work, Cases.prepare(work, bench), bench, race, peaks);
        } catch (UnsupportedOperationException
                | IllegalArgumentException
                | OutOfDeviceMemoryException e) {
            return TableRow.empty(work.name(), "not measured: " + Entrants.firstLine(e));
        } catch (IllegalStateException e) {
            return TableRow.empty(work.name(), Entrants.firstLine(e));
        } finally {
            bench.clear();
        }
    }

    private TableRow measure(
            Case work, PreparedCase prepared, Workbench bench, Race race, Peaks peaks) {
        Entrants entrants = Entrants.of(prepared, bench);
        List<Race.Times> times =
                race.run(entrants.racers(), prepared.clock(), prepared.sets(), options.seconds);
        List<TableRow.Other> others = new ArrayList<>();
        for (int i = 1; i < times.size(); i++) {
            others.add(
                    new TableRow.Other(
                            entrants.racers().get(i).name(),
                            times.get(i),
                            entrants.accuracies().get(i)));
        }
        return new TableRow(
                work.name(),
                prepared.flops(),
                prepared.bytes(),
                peaks.of(work),
                times.getFirst(),
                entrants.accuracies().getFirst(),
                others,
                entrants.notes());
    }
}
