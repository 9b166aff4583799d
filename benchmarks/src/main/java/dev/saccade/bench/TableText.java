package dev.saccade.bench;

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
/// @param copyBandwidth bytes a second that a copy on the device moves, read and written; 0 where
///   it was not measured
record TableText(Map<String, String> head, double copyBandwidth) {
    private static final List<String> COLUMNS =
            List.of("case", "us", "+-%", "TFLOP/s", "GB/s", "% copy", "best peer", "us", "% of it");

    /// The cells of a row, after its name.
    private List<String> cells(TableRow row) {
        List<String> cells = new ArrayList<>();
        Race.Times ours = row.ours();
        if (ours == null) {
            cells.addAll(List.of("", "", "", "", ""));
        } else {
            double seconds = ours.median() * 1e-6;
            double bandwidth = row.bytes() / seconds;
            cells.add(number(ours.median()));
            cells.add(number(50 * (ours.high() - ours.low()) / ours.median()));
            cells.add(row.flops() == 0 ? "" : number(row.flops() / seconds * 1e-12));
            cells.add(row.bytes() == 0 ? "" : number(bandwidth * 1e-9));
            cells.add(
                    row.bytes() == 0 || copyBandwidth == 0
                            ? ""
                            : number(100 * bandwidth / copyBandwidth));
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
                        "%-" + nameWidth + "s %10s %5s %8s %7s %7s  %-18s %10s %8s",
                        cells.toArray())
                .stripTrailing();
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
        root.put("copyBytesPerSecond", copyBandwidth);
        ArrayNode list = root.putArray("cases");
        for (TableRow row : rows) {
            ObjectNode node = list.addObject();
            node.put("case", row.name());
            node.put("flops", row.flops());
            node.put("bytes", row.bytes());
            Race.Times ours = row.ours();
            if (ours != null) {
                put(node.putObject("saccade"), ours);
            }
            ObjectNode peers = node.putObject("peers");
            row.others().forEach(other -> put(peers.putObject(other.peer()), other.times()));
            if (!row.note().isEmpty()) {
                node.put("note", row.note());
            }
        }
        return mapper.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n";
    }

    private static void put(ObjectNode node, Race.Times times) {
        node.put("microseconds", times.median());
        node.put("low", times.low());
        node.put("high", times.high());
    }
}
