package dev.saccade.rl.task;

import dev.saccade.rl.data.KeyedRandom;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// What stands in the data set: for each file its rows, and for each row its picture. Each row is
/// drawn from random numbers of its own, so it does not depend on how many others there are.
///
/// @param sizes how many rows
/// @param mixture of the cold start
/// @param seed decides everything else
record DigitRows(DigitsTask.Sizes sizes, Mixture mixture, long seed) {
    private static final List<Subject> COLD_START_SUBJECTS =
            List.of(Subject.SUM, Subject.SUM, Subject.COMPARE, Subject.COUNT, Subject.POSITION);

    private static final List<Subject> SUBJECTS = List.of(Subject.values());

    /// A row and its picture.
    ///
    /// @param json the row as the file has it
    /// @param imagePath where the picture is, from the data set's folder
    /// @param grid what it shows
    /// @param split whose handwriting
    /// @param paintNow whether this row's file is the one that brings the picture
    record DigitRow(
            Map<String, Object> json,
            String imagePath,
            DigitGrid grid,
            Handwriting.Split split,
            KeyedRandom paint,
            boolean paintNow) {}

    /// The files in the order in which they are written, each with its rows.
    SequencedMap<String, Stream<DigitRow>> files() {
        SequencedMap<String, Stream<DigitRow>> files = new LinkedHashMap<>();
        files.put("pretrain.jsonl", rows(sizes.pretrain(), this::pretrain));
        files.put(
                "sft.jsonl",
                rows(sizes.sft(), index -> supervised("sft", index, COLD_START_SUBJECTS, mixture)));
        files.put(
                "rl.jsonl",
                rows(sizes.rl(), index -> asked("rl", "rl", index, List.of(Subject.SUM))));
        files.put(
                "rl-all.jsonl", rows(sizes.rl(), index -> asked("rl-all", "rl", index, SUBJECTS)));
        files.put(
                "connector.jsonl",
                rows(
                        sizes.connector(),
                        index -> supervised("connector", index, SUBJECTS, Mixture.READING)));
        files.put(
                "validation.jsonl",
                rows(
                        sizes.validationPerSubject() * SUBJECTS.size(),
                        index -> judged("validation", Handwriting.Split.VALIDATION, index)));
        files.put(
                "test.jsonl",
                rows(
                        sizes.testPerSubject() * SUBJECTS.size(),
                        index -> judged("test", Handwriting.Split.TEST, index)));
        return files;
    }

    private interface RowMaker {
        DigitRow row(int index);
    }

    private static Stream<DigitRow> rows(int count, RowMaker maker) {
        return IntStream.range(0, count).mapToObj(maker::row);
    }

    /// A row that only reads, or reads and works on a subject's question.
    private DigitRow pretrain(int index) {
        KeyedRandom random = KeyedRandom.of(seed, "pretrain", index);
        DigitGrid grid = grid("pretrain", index);
        boolean works = index % 2 == 1;
        Question question =
                works
                        ? draw(SUBJECTS, random).ask(grid, random)
                        : new Question(Subject.POSITION, "Read the digits.", "", grid.reading());
        String thinking = Trace.see(grid) + (works ? " " + question.work() : "");
        return row(
                "pretrain",
                "pretrain",
                index,
                works ? question.subject().dataSource() : "read",
                grid,
                Handwriting.Split.TRAIN,
                question,
                works ? "work" : "read",
                thinking + "</think>");
    }

    private DigitRow supervised(String file, int index, List<Subject> subjects, Mixture traces) {
        KeyedRandom random = KeyedRandom.of(seed, file, index);
        DigitGrid grid = grid(file, index);
        Question question = draw(subjects, random).ask(grid, random);
        Trace trace = traces.draw(random);
        String response =
                "%s</think>\\boxed{%s}"
                        .formatted(trace.thinking(grid, question, random), question.answer());
        return row(
                file,
                file,
                index,
                question.subject().dataSource(),
                grid,
                Handwriting.Split.TRAIN,
                question,
                trace.name().toLowerCase(Locale.ROOT),
                response);
    }

    private DigitRow asked(String file, String pictures, int index, List<Subject> subjects) {
        KeyedRandom random = KeyedRandom.of(seed, file, index);
        DigitGrid grid = grid(pictures, index);
        Question question = draw(subjects, random).ask(grid, random);
        return row(
                file,
                pictures,
                index,
                question.subject().dataSource(),
                grid,
                Handwriting.Split.TRAIN,
                question,
                null,
                null);
    }

    /// A held-out row; the subjects take turns, so that each has as many.
    private DigitRow judged(String file, Handwriting.Split split, int index) {
        KeyedRandom random = KeyedRandom.of(seed, file, index);
        DigitGrid grid = grid(file, index);
        Question question = SUBJECTS.get(index % SUBJECTS.size()).ask(grid, random);
        return row(
                file,
                file,
                index,
                question.subject().dataSource(),
                grid,
                split,
                question,
                null,
                null);
    }

    private DigitGrid grid(String pictures, int index) {
        return DigitGrid.draw(KeyedRandom.of(seed, pictures + " cells", index));
    }

    private DigitRow row(
            String file,
            String pictures,
            int index,
            String dataSource,
            DigitGrid grid,
            Handwriting.Split split,
            Question question,
            @Nullable String trace,
            @Nullable String response) {
        String imagePath = "images/%s/%05d.png".formatted(pictures, index);
        Map<String, Object> extra = new LinkedHashMap<>();
        extra.put("index", index);
        extra.put("split", file);
        extra.put("cells", grid.reading());
        if (trace != null) {
            extra.put("trace", trace);
        }
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("data_source", dataSource);
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", "user");
        message.put("content", question.text() + "<image>");
        json.put("prompt", List.of(message));
        json.put("images", List.of(Map.of("path", imagePath)));
        json.put("ability", "digits");
        Map<String, Object> reward = new LinkedHashMap<>();
        reward.put("style", "rule");
        reward.put("ground_truth", question.answer());
        json.put("reward_model", reward);
        json.put("extra_info", extra);
        if (response != null) {
            json.put("response", response);
        }
        KeyedRandom paint = KeyedRandom.of(seed, pictures + " handwriting", index);
        return new DigitRow(json, imagePath, grid, split, paint, file.equals(pictures));
    }

    private static Subject draw(List<Subject> subjects, KeyedRandom random) {
        return subjects.get(random.nextInt(subjects.size()));
    }
}
