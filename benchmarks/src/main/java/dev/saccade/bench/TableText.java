package dev.saccade.bench;

import dev.saccade.tensor.AtomicFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// How the table is written: for reading in a terminal, as Markdown, as JSON.
///
/// @param head what was measured with: pairs of a word and its meaning
record TableText(Map<String, String> head) {
    private static final List<String> COLUMNS =
            List.of(
                    "case",
                    "us",
                    "+-%",
                    "TFLOP/s",
                    "% peak",
                    "GB/s",
                    "% copy",
                    "error",
                    "allowed",
                    "best peer",
                    "us",
                    "% of it");

    /// The cells of a row, after its name.
    private List<String> cells(TableRow row) {
        List<String> cells = new ArrayList<>();
        Race.Times ours = row.ours();
        if (ours == null) {
            cells.addAll(List.of("", "", "", "", "", "", "", ""));
        } else {
            double seconds = ours.median() * 1e-6;
            double flops = row.flops() / seconds;
            double bandwidth = row.bytes() / seconds;
            cells.add(number(ours.median()));
            cells.add(number(50 * (ours.high() - ours.low()) / ours.median()));
            cells.add(row.flops() == 0 ? "" : number(flops * 1e-12));
            cells.add(percent(flops, row.peaks().flops()));
            cells.add(row.bytes() == 0 ? "" : number(bandwidth * 1e-9));
            cells.add(percent(bandwidth, row.peaks().bytes()));
            cells.add(small(row.accuracy().error()));
            cells.add(small(row.accuracy().allowed()));
        }
        TableRow.Other best = row.best();
        if (best == null) {
            cells.addAll(List.of(row.note(), "", ""));
        } else {
            cells.add(best.peer());
            cells.add(number(best.times().median()));
            cells.add(ours == null ? "" : number(100 * best.times().median() / ours.median()));
        }
        return cells;
    }

    /// Three digits that mean something.
    static String number(double value) {
        int decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
        return String.format(Locale.ROOT, "%." + decimals + "f", value);
    }

    /// A rate in percent of the best there is; nothing where either is unknown.
    private static String percent(double rate, double peak) {
        return rate == 0 || peak == 0 ? "" : number(100 * rate / peak);
    }

    /// An error: `1.7e-3`; nothing where it is unknown.
    static String small(double value) {
        if (Double.isNaN(value)) {
            return "";
        }
        return value == 0 ? "0" : String.format(Locale.ROOT, "%.1e", value).replace("e-0", "e-");
    }

    /// The head, as lines of a terminal.
    List<String> terminalHead(int nameWidth) {
        List<String> lines = new ArrayList<>();
        head.forEach((word, meaning) -> lines.add(word + ": " + meaning));
        lines.add(line(nameWidth, COLUMNS));
        return lines;
    }

    /// A row, as a line of a terminal.
    String terminal(int nameWidth, TableRow row) {
        List<String> cells = new ArrayList<>();
        cells.add(row.name());
        cells.addAll(cells(row));
        String line = line(nameWidth, cells);
        return row.note().isEmpty() || row.best() == null ? line : line + "  " + row.note();
    }

    private static String line(int nameWidth, List<String> cells) {
        return String.format(
                        Locale.ROOT,
                        "%-" + nameWidth + "s %9s %5s %7s %6s %6s %6s %7s %7s  %-15s %9s %7s",
                        cells.toArray())
                .stripTrailing();
    }

    /// Writes the table to each of the files: `FILE.md` as Markdown, otherwise as JSON. Called
    /// after each case: a measurement that is cut short keeps what it has.
    void write(List<Path> files, List<TableRow> rows) {
        for (Path file : files) {
            String content = file.toString().endsWith(".md") ? markdown(rows) : json(rows);
            AtomicFiles.write(file, content.getBytes(StandardCharsets.UTF_8));
        }
    }

    /// The table as Markdown.
    String markdown(List<TableRow> rows) {
        StringBuilder text = new StringBuilder();
        head.forEach((word, meaning) ->
                text.append("- ").append(word).append(": ").append(meaning).append('\n'));
        text.append("\n| ").append(String.join(" | ", COLUMNS)).append(" |\n|---|");
        text.append("--:|".repeat(COLUMNS.size() - 1)).append('\n');
        for (TableRow row : rows) {
            text.append("| ").append(row.name()).append(" | ");
            text.append(String.join(" | ", cells(row))).append(" |\n");
        }
        return text.toString();
    }

    /// The table as JSON, with every peer and the quartiles.
    String json(List<TableRow> rows) {
        JsonMapper mapper = JsonMapper.builder().build();
        ObjectNode root = mapper.createObjectNode();
        ObjectNode headNode = root.putObject("head");
        head.forEach(headNode::put);
        ArrayNode list = root.putArray("cases");
        for (TableRow row : rows) {
            ObjectNode node = list.addObject();
            node.put("case", row.name());
            node.put("flops", row.flops());
            node.put("bytes", row.bytes());
            if (row.peaks().flops() != 0) {
                node.put("peakFlopsPerSecond", row.peaks().flops());
                node.put("peakFlopsBy", row.peaks().by());
            }
            if (row.peaks().bytes() != 0) {
                node.put("copyBytesPerSecond", row.peaks().bytes());
            }
            Race.Times ours = row.ours();
            if (ours != null) {
                put(node.putObject("saccade"), ours, row.accuracy());
            }
            ObjectNode peers = node.putObject("peers");
            for (TableRow.Other other : row.others()) {
                put(peers.putObject(other.peer()), other.times(), other.accuracy());
            }
            if (!row.note().isEmpty()) {
                node.put("note", row.note());
            }
        }
        return mapper.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n";
    }

    private static void put(ObjectNode node, Race.Times times, Accuracy accuracy) {
        node.put("microseconds", times.median());
        node.put("low", times.low());
        node.put("high", times.high());
        if (accuracy.isKnown()) {
            node.put("error", accuracy.error());
            node.put("allowedError", accuracy.allowed());
        }
    }
}
