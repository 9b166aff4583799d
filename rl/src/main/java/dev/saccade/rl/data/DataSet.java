package dev.saccade.rl.data;

import dev.saccade.engine.InputException;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/// The rows of a JSON lines file, all checked when it is read.
///
/// ```json
/// {"data_source": "sum", "prompt": [{"role": "user", "content": "What is the sum?<image>"}],
///  "images": [{"path": "images/7.png"}], "ability": "digits",
///  "reward_model": {"style": "rule", "ground_truth": "9"}, "extra_info": {"index": 7},
///  "response": "I see 4_5_. 4+5=9.</think>\\boxed{9}"}
/// ```
///
/// (in the file, each row is one line). `images`, `ability`, `extra_info` and `response` may be
/// left out; a picture may be a plain path; paths start at the file's folder. Other fields are left
/// alone.
public final class DataSet {
    private final Path file;
    private final List<Row> rows;

    private DataSet(Path file, List<Row> rows) {
        this.file = file;
        this.rows = rows;
    }

    /// Reads and checks a file. The first fault is an [InputException] `FILE: line N: <why>;
    /// <cure>`.
    public static DataSet read(Path file) {
        List<Row> rows = new ArrayList<>();
        RowReader reader = new RowReader(file);
        int number = 0;
        try (BufferedReader lines = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
            String line;
            while ((line = lines.readLine()) != null) {
                number++;
                if (!line.isBlank()) {
                    rows.add(reader.read(line, number));
                }
            }
        } catch (CharacterCodingException e) {
            throw new InputException(
                    "%s: after line %d".formatted(file, number),
                    "is not UTF-8 text",
                    "write the file as UTF-8",
                    e);
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    Files.exists(file) ? "can't be read: " + e.getMessage() : "does not exist",
                    "check the path",
                    e);
        }
        if (rows.isEmpty()) {
            throw new InputException(
                    file.toString(), "has no rows", "write one JSON object on each line");
        }
        return new DataSet(file, List.copyOf(rows));
    }

    /// The file that was read.
    public Path file() {
        return file;
    }

    /// How many rows.
    public int size() {
        return rows.size();
    }

    /// One row.
    public Row row(int index) {
        return rows.get(index);
    }

    /// All rows in the file's order.
    public List<Row> rows() {
        return rows;
    }

    /// The subjects in the order in which they first appear.
    public Set<String> dataSources() {
        Set<String> sources = new LinkedHashSet<>();
        for (Row row : rows) {
            sources.add(row.dataSource());
        }
        return sources;
    }

    /// The order in which an epoch visits the rows: each row once, in an order that depends on the
    /// seed, the epoch and the number of rows alone.
    public int[] order(long seed, long epoch) {
        KeyedRandom random = KeyedRandom.of(seed, "order of rows", epoch);
        int[] order = new int[rows.size()];
        for (int i = 0; i < order.length; i++) {
            int other = random.nextInt(i + 1);
            order[i] = order[other];
            order[other] = i;
        }
        return order;
    }
}
