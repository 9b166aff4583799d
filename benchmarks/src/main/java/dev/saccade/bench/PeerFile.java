package dev.saccade.bench;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// What a peer of another language measured: lines of JSON, `{"case": name, "peer": name,
/// "microseconds": median, "low": quartile, "high": quartile}`, and one line `{"head": {...}}` on
/// what it is.
///
/// @param head what the peer is
/// @param times its times, by case
record PeerFile(Map<String, String> head, Map<String, List<TableRow.Other>> times) {

    /// The row with what the peer measured of its case.
    TableRow addTo(TableRow row) {
        return row.with(times.getOrDefault(row.name(), List.of()));
    }

    /// @throws InputException naming file and line, when it is not such a file
    static PeerFile read(Path file) {
        JsonMapper mapper = JsonMapper.builder().build();
        Map<String, String> head = new LinkedHashMap<>();
        Map<String, List<TableRow.Other>> times = new LinkedHashMap<>();
        int number = 0;
        try {
            for (String line : Files.readAllLines(file)) {
                number++;
                if (line.isBlank()) {
                    continue;
                }
                JsonNode node = mapper.readTree(line);
                if (node.has("head")) {
                    node.get("head")
                            .properties()
                            .forEach(
                                    entry -> head.put(entry.getKey(), entry.getValue().asString()));
                } else if (node.has("microseconds")) {
                    double median = node.get("microseconds").asDouble();
                    Race.Times measured =
                            new Race.Times(
                                    median,
                                    node.path("low").asDouble(median),
                                    node.path("high").asDouble(median));
                    times.computeIfAbsent(node.path("case").asString(""), _ -> new ArrayList<>())
                            .add(
                                    new TableRow.Other(
                                            node.path("peer").asString("peer"),
                                            measured,
                                            Accuracy.UNKNOWN));
                }
            }
        } catch (JacksonException e) {
            throw new InputException(
                    file + ":" + number,
                    "is no JSON: " + e.getOriginalMessage(),
                    "give a file that torch_peers.py wrote");
        } catch (IOException e) {
            throw new InputException(
                    file.toString(), "can't be read: " + e.getMessage(), "name a file that exists");
        }
        return new PeerFile(head, times);
    }
}
