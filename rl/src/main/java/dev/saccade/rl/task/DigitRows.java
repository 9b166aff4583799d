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

    /// A picture of the data set.
    ///
    /// @param path where it is, from the data set's folder
    /// @param grid what it shows
    /// @param split whose handwriting
    /// @param index which of its kind
    /// @param kind the file of rows that brings it
    record Picture(String path, DigitGrid grid, Handwriting.Split split, int index, String kind) {}

    /// A row.
    ///
    /// @param json the row as the file has it
    /// @param picture what it is about
    /// @param isNew whether no row before it had this picture
    record DigitRow(Map<String, Object> json, Picture picture, boolean isNew) {}

    /// The files in the order in which they are written, each with its rows. The connector's rows
    /// are about the pictures of `rl.jsonl`: no stage before it was told what these show, and
    /// thousands of files fewer are written.
    SequencedMap<String, Stream<DigitRow>> files() {
        List<Subject> sums = List.of(Subject.SUM);
        SequencedMap<String, Stream<DigitRow>> files = new LinkedHashMap<>();
        files.put("pretrain.jsonl", rows(sizes.pretrain(), this::pretrain));
        files.put("sft.jsonl", rows(sizes.sft(), this::coldStart));
        files.put("rl.jsonl", rows(sizes.rl(), index -> asked("rl", index, sums)));
        files.put("rl-all.jsonl", rows(sizes.rl(), index -> asked("rl-all", index, SUBJECTS)));
        files.put("connector.jsonl", rows(sizes.connector(), this::connector));
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

    /// Paints a picture, [DigitGrid#PIXELS] by [DigitGrid#PIXELS] grey.
    byte[] paint(Picture picture, Handwriting handwriting) {
        return picture.grid()
                .paint(
                        handwriting,
                        picture.split(),
                        random(picture.kind() + " hands", picture.index()));
    }

    private interface RowMaker {
        DigitRow row(int index);
    }

    private static Stream<DigitRow> rows(int count, RowMaker maker) {
        return IntStream.range(0, count).mapToObj(maker::row);
    }

    /// A row that only reads, or reads and works on a subject's question.
    private DigitRow pretrain(int index) {
        KeyedRandom random = random("pretrain", index);
        Picture picture = picture("pretrain", Handwriting.Split.TRAIN, index);
        String reading = Trace.see(picture.grid());
        if (index % 2 == 0) {
            Question question = Question.read(picture.grid());
            return row("pretrain", index, picture, question, "read", reading + "</think>");
        }
        Question question = draw(SUBJECTS, random).ask(picture.grid(), random);
        String response = "%s %s</think>".formatted(reading, question.work());
        return row("pretrain", index, picture, question, "work", response);
    }

    private DigitRow coldStart(int index) {
        Picture picture = picture("sft", Handwriting.Split.TRAIN, index);
        return supervised("sft", index, picture, COLD_START_SUBJECTS, mixture);
    }

    private DigitRow connector(int index) {
        Picture picture = picture("rl", Handwriting.Split.TRAIN, index % sizes.rl());
        return supervised("connector", index, picture, SUBJECTS, Mixture.READING);
    }

    private DigitRow supervised(
            String file, int index, Picture picture, List<Subject> subjects, Mixture traces) {
        KeyedRandom random = random(file, index);
        Question question = draw(subjects, random).ask(picture.grid(), random);
        Trace trace = traces.draw(random);
        String thinking = trace.thinking(picture.grid(), question, random);
        return row(
                file,
                index,
                picture,
                question,
                trace.name().toLowerCase(Locale.ROOT),
                "%s</think>\\boxed{%s}".formatted(thinking, question.answer()));
    }

    private DigitRow asked(String file, int index, List<Subject> subjects) {
        KeyedRandom random = random(file, index);
        Picture picture = picture("rl", Handwriting.Split.TRAIN, index);
        Question question = draw(subjects, random).ask(picture.grid(), random);
        return row(file, index, picture, question, null, null);
    }

    /// A held-out row; the subjects take turns, so that each has as many.
    private DigitRow judged(String file, Handwriting.Split split, int index) {
        KeyedRandom random = random(file, index);
        Picture picture = picture(file, split, index);
        Question question = SUBJECTS.get(index % SUBJECTS.size()).ask(picture.grid(), random);
        return row(file, index, picture, question, null, null);
    }

    private Picture picture(String kind, Handwriting.Split split, int index) {
        return new Picture(
                "images/%s/%05d.png".formatted(kind, index),
                DigitGrid.draw(random(kind + " cells", index)),
                split,
                index,
                kind);
    }

    private static DigitRow row(
            String file,
            int index,
            Picture picture,
            Question question,
            @Nullable String trace,
            @Nullable String response) {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", "user");
        message.put("content", question.text() + "<image>");
        Map<String, Object> reward = new LinkedHashMap<>();
        reward.put("style", "rule");
        reward.put("ground_truth", question.answer());
        Map<String, Object> extra = new LinkedHashMap<>();
        extra.put("index", index);
        extra.put("split", file);
        extra.put("cells", picture.grid().reading());
        if (trace != null) {
            extra.put("trace", trace);
        }
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("data_source", question.dataSource());
        json.put("prompt", List.of(message));
        json.put("images", List.of(Map.of("path", picture.path())));
        json.put("ability", "digits");
        json.put("reward_model", reward);
        json.put("extra_info", extra);
        if (response != null) {
            json.put("response", response);
        }
        return new DigitRow(json, picture, file.equals(picture.kind()));
    }

    private KeyedRandom random(String purpose, int index) {
        return KeyedRandom.of(seed, purpose, index);
    }

    private static Subject draw(List<Subject> subjects, KeyedRandom random) {
        return subjects.get(random.nextInt(subjects.size()));
    }
}
