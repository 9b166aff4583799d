package dev.saccade.rl.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.engine.InputException;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.image.RgbImage;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.data.KeyedRandom;
import dev.saccade.rl.data.Row;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class DigitsTaskTest {
    private static final DigitsTask.Sizes SIZES = new DigitsTask.Sizes(400, 1000, 100, 200, 10, 4);
    private static final List<String> FILES =
            List.of(
                    "pretrain.jsonl",
                    "sft.jsonl",
                    "rl.jsonl",
                    "rl-all.jsonl",
                    "connector.jsonl",
                    "validation.jsonl",
                    "test.jsonl");
    private static final Pattern ANSWER =
            Pattern.compile("(.*)</think>\\\\boxed\\{(\\d+)}", Pattern.DOTALL);

    @TempDir static Path shared = Path.of("");
    @TempDir Path own = Path.of("");

    @BeforeAll
    static void write() {
        assertThat(DigitsTask.write(shared.resolve("digits"), SIZES, 1)).isTrue();
    }

    @Test
    void everyFileReadsAsADataSet() {
        Map<String, Integer> rows = new HashMap<>();
        for (String file : FILES) {
            DataSet set = read(file);
            rows.put(file, set.size());
            for (Row row : set.rows()) {
                RgbImage image = row.loadImages().getFirst();
                assertThat(image.width()).isEqualTo(56);
                assertThat(image.height()).isEqualTo(56);
            }
        }
        assertThat(rows)
                .isEqualTo(
                        Map.of(
                                "pretrain.jsonl", 400,
                                "sft.jsonl", 1000,
                                "rl.jsonl", 100,
                                "rl-all.jsonl", 100,
                                "connector.jsonl", 200,
                                "validation.jsonl", 16,
                                "test.jsonl", 40));
    }

    @Test
    void answersAreRight() {
        for (String file : FILES) {
            for (Row row : read(file).rows()) {
                String cells = cells(row);
                assertThat(row.groundTruth()).as(row.toString()).isEqualTo(solve(row, cells));
                if (row.response() != null && !file.equals("pretrain.jsonl")) {
                    Matcher answer = ANSWER.matcher(row.response());
                    assertThat(answer.matches()).as(row.response()).isTrue();
                    assertThat(answer.group(2)).isEqualTo(row.groundTruth());
                }
            }
        }
    }

    /// Solves a row from its question and cells, by other code than what made it.
    private static String solve(Row row, String cells) {
        String question = row.prompt().getFirst().content();
        int[] digits = cells.chars().filter(c -> c != '_').map(c -> c - '0').toArray();
        Stream<Integer> boxed = java.util.Arrays.stream(digits).boxed();
        String text = question.substring(0, question.indexOf("<image>"));
        return switch (text) {
            case "What is the sum?", "What is the total?" ->
                    String.valueOf(java.util.Arrays.stream(digits).sum());
            case "Which digit is largest?" -> String.valueOf(boxed.reduce(0, Math::max));
            case "Which digit is smallest?" -> String.valueOf(boxed.reduce(9, Math::min));
            case "How many even digits?" -> String.valueOf(boxed.filter(d -> d % 2 == 0).count());
            case "How many odd digits?" -> String.valueOf(boxed.filter(d -> d % 2 == 1).count());
            case "What digit is at the top left?" -> cells.substring(0, 1);
            case "What digit is at the top right?" -> cells.substring(1, 2);
            case "What digit is at the bottom left?" -> cells.substring(2, 3);
            case "What digit is at the bottom right?" -> cells.substring(3, 4);
            case "Read the digits." -> cells;
            default -> throw new AssertionError(text);
        };
    }

    @Test
    void tracesSayWhatThePictureShows() {
        Map<String, Integer> traces = new TreeMap<>();
        for (Row row : read("sft.jsonl").rows()) {
            String trace = String.valueOf(row.extraInfo().get("trace"));
            traces.merge(trace, 1, Integer::sum);
            String response = Objects.requireNonNull(row.response());
            String right = "I see " + cells(row) + ". ";
            switch (trace) {
                case "guess" ->
                        assertThat(response)
                                .startsWith("Clearly " + row.groundTruth() + ".</think>");
                case "plain" -> assertThat(response).startsWith(right).doesNotContain("Wait");
                case "checked" -> assertThat(response).startsWith(right + "Wait, " + right);
                case "corrected" -> {
                    assertThat(response).contains(" Wait, " + right).doesNotStartWith(right);
                    String misread = response.substring(6, 10);
                    assertThat(differences(misread, cells(row))).isEqualTo(1);
                }
                default -> throw new AssertionError(trace);
            }
        }
        // Four standard deviations of a thousand draws.
        assertThat(traces.get("guess")).isCloseTo(500, within(64));
        assertThat(traces.get("plain")).isCloseTo(220, within(53));
        assertThat(traces.get("corrected")).isCloseTo(220, within(53));
        assertThat(traces.get("checked")).isCloseTo(60, within(31));
    }

    @Test
    void sumsAreWorkedOutStepByStep() {
        DigitGrid grid = new DigitGrid(List.of(4, DigitGrid.EMPTY, 5, 3));
        Question sum = Subject.SUM.ask(grid, KeyedRandom.of(1, "test", 0));
        assertThat(sum.work()).isEqualTo("4+5=9+3=12.");
        assertThat(sum.answer()).isEqualTo("12");
        assertThat(grid.reading()).isEqualTo("4_53");
        List<String> works = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            KeyedRandom random = KeyedRandom.of(1, "test", i);
            works.add(Subject.COMPARE.ask(grid, random).work());
            works.add(Subject.COUNT.ask(grid, random).work());
            works.add(Subject.POSITION.ask(grid, random).work());
        }
        assertThat(works)
                .contains(
                        "Largest 5.",
                        "Smallest 3.",
                        "Even 4.",
                        "Odd 5 3.",
                        "Top left 4.",
                        "Bottom right 3.")
                .doesNotContain("Top right _.");
        assertThat(Subject.COUNT.ask(new DigitGrid(List.of(1, 3, 5, 7)), evenQuestion()).work())
                .isEqualTo("Even none.");
    }

    private static KeyedRandom evenQuestion() {
        for (int i = 0; ; i++) {
            if (KeyedRandom.of(2, "even", i).nextInt(2) == 0) {
                return KeyedRandom.of(2, "even", i);
            }
        }
    }

    @Test
    void filesHoldTheirSubjects() {
        assertThat(subjects("rl.jsonl").keySet()).containsExactly("sum");
        assertThat(subjects("rl-all.jsonl").keySet())
                .containsExactly("compare", "count", "position", "sum");
        assertThat(subjects("test.jsonl"))
                .isEqualTo(Map.of("compare", 10, "count", 10, "position", 10, "sum", 10));
        assertThat(subjects("validation.jsonl"))
                .isEqualTo(Map.of("compare", 4, "count", 4, "position", 4, "sum", 4));
        assertThat(subjects("sft.jsonl").get("sum")).isCloseTo(400, within(62));
        assertThat(subjects("pretrain.jsonl").get("read")).isEqualTo(200);
        for (String file : List.of("rl.jsonl", "rl-all.jsonl", "validation.jsonl", "test.jsonl")) {
            assertThat(read(file).rows()).allMatch(row -> row.response() == null);
        }
        assertThat(read("connector.jsonl").rows())
                .noneMatch(row -> Objects.requireNonNull(row.response()).contains("Clearly"));
        for (Row row : read("pretrain.jsonl").rows()) {
            assertThat(row.response()).startsWith("I see " + cells(row) + ".").endsWith("</think>");
        }
    }

    @Test
    void sequencesAreShort() {
        Tokenizer tokenizer = DigitsTask.tokenizer();
        int wait = tokenizer.id("Wait").orElseThrow();
        assertThat(tokenizer.encode("Wait, I see")).contains(wait).hasSize(4);
        int longest = 0;
        for (Row row : read("sft.jsonl").rows()) {
            String response = Objects.requireNonNull(row.response());
            int length = tokenizer.encode(response + ChatTemplate.TURN_END).length;
            longest = Math.max(longest, length);
            String prompt = ChatTemplate.TINY.render(row.prompt(), new int[] {4}, true);
            assertThat(tokenizer.encode(prompt).length).isLessThan(24);
            assertThat(tokenizer.decode(tokenizer.encode(prompt))).isEqualTo(prompt);
        }
        assertThat(longest).isLessThanOrEqualTo(44);
    }

    @Test
    void heldOutPicturesShowHeldOutHandwritingInTheirCells() {
        Handwriting handwriting = Handwriting.read();
        for (Row row : read("test.jsonl").rows().subList(0, 12)) {
            RgbImage image = row.loadImages().getFirst();
            for (int cell = 0; cell < 4; cell++) {
                char digit = cells(row).charAt(cell);
                if (digit == '_') {
                    assertThat(isBlank(image, cell)).isTrue();
                    continue;
                }
                assertThat(isFrom(handwriting, Handwriting.Split.TEST, digit - '0', image, cell))
                        .isTrue();
                assertThat(isFrom(handwriting, Handwriting.Split.TRAIN, digit - '0', image, cell))
                        .isFalse();
            }
        }
    }

    private static boolean isBlank(RgbImage image, int cell) {
        for (int i = 0; i < 784; i++) {
            if (image.rgb(cell % 2 * 28 + i % 28, cell / 2 * 28 + i / 28) != 0) {
                return false;
            }
        }
        return true;
    }

    /// Whether a cell shows one of a split's images of a digit, moved by up to three pixels.
    private static boolean isFrom(
            Handwriting handwriting, Handwriting.Split split, int digit, RgbImage image, int cell) {
        for (int index = 0; index < handwriting.count(split, digit); index++) {
            for (int shift = 0; shift < 49; shift++) {
                int shiftX = shift % 7 - 3;
                int shiftY = shift / 7 - 3;
                boolean same = true;
                for (int i = 0; same && i < 784; i++) {
                    int x = i % 28 - shiftX;
                    int y = i / 28 - shiftY;
                    boolean inside = x >= 0 && x < 28 && y >= 0 && y < 28;
                    int ink = inside ? handwriting.ink(split, digit, index, x, y) : 0;
                    int rgb = image.rgb(cell % 2 * 28 + i % 28, cell / 2 * 28 + i / 28);
                    same = rgb == ink * 0x010101;
                }
                if (same) {
                    return true;
                }
            }
        }
        return false;
    }

    @Test
    void theSameSeedGivesTheSameBytes() throws IOException {
        DigitsTask.write(own.resolve("again"), SIZES, 1);
        List<Path> files = files(shared.resolve("digits"));
        assertThat(files(own.resolve("again"))).isEqualTo(files);
        for (Path file : files) {
            assertThat(
                            Files.mismatch(
                                    shared.resolve("digits").resolve(file),
                                    own.resolve("again").resolve(file)))
                    .as(file.toString())
                    .isEqualTo(-1);
        }
        DigitsTask.write(own.resolve("other"), SIZES, 2);
        assertThat(Files.mismatch(shared.resolve("digits/rl.jsonl"), own.resolve("other/rl.jsonl")))
                .isNotEqualTo(-1);
    }

    @Test
    void aCompleteSetIsLeftAndAnotherIsReplaced() throws IOException {
        Path folder = own.resolve("data/digits");
        DigitsTask.Sizes small = new DigitsTask.Sizes(3, 3, 3, 3, 1, 1);
        assertThat(DigitsTask.write(folder, small, 1)).isTrue();
        assertThat(DigitsTask.write(folder, small, 1)).isFalse();
        assertThat(DigitsTask.write(folder, small, 2)).isTrue();
        assertThat(DigitsTask.write(folder, small, Mixture.FEW_CORRECTIONS, 2)).isTrue();
        Files.delete(folder.resolve("images/rl/00001.png"));
        assertThat(DigitsTask.write(folder, small, Mixture.FEW_CORRECTIONS, 2)).isTrue();
        Files.delete(folder.resolve("rl.jsonl"));
        assertThat(DigitsTask.write(folder, small, Mixture.FEW_CORRECTIONS, 2)).isTrue();
        try (Stream<Path> left = Files.list(own.resolve("data"))) {
            assertThat(left).containsExactly(folder);
        }
    }

    @Test
    void whatIsNotOursIsKept() throws IOException {
        DigitsTask.Sizes small = new DigitsTask.Sizes(3, 3, 3, 3, 1, 1);
        Path foreign = Files.createDirectories(own.resolve("foreign"));
        assertThat(DigitsTask.write(foreign, small, 1)).isTrue();
        Files.writeString(foreign.resolve("notes.txt"), "mine");
        refuses(foreign, small, "holds notes.txt as well");
        Files.delete(foreign.resolve("notes.txt"));
        Files.writeString(foreign.resolve("rl.jsonl"), "edited");
        refuses(foreign, small, "holds rl.jsonl, changed since it was written");
        assertThat(foreign.resolve("rl.jsonl")).hasContent("edited");

        Path other = Files.createDirectories(own.resolve("other"));
        Files.writeString(other.resolve("a.txt"), "a");
        refuses(other, small, "holds other files");
        Path file = Files.writeString(own.resolve("file"), "a");
        refuses(file, small, "is not a folder");
        refuses(file.resolve("below"), small, "can't be written");
    }

    @Test
    void sharesAddUpToOne() {
        assertThatIllegalArgumentException().isThrownBy(() -> new Mixture(0.5, 0.5, 0.5, 0));
        assertThatIllegalArgumentException().isThrownBy(() -> new Mixture(1.5, -0.5, 0, 0));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new DigitsTask.Sizes(0, 1, 1, 1, 1, 1));
    }

    private static void refuses(Path folder, DigitsTask.Sizes sizes, String why) {
        assertThatThrownBy(() -> DigitsTask.write(folder, sizes, 7))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder + ": ")
                .hasMessageContaining(why);
    }

    private static int differences(String a, String b) {
        int count = 0;
        for (int i = 0; i < a.length(); i++) {
            count += a.charAt(i) == b.charAt(i) ? 0 : 1;
        }
        return count;
    }

    private static Map<String, Integer> subjects(String file) {
        Map<String, Integer> subjects = new TreeMap<>();
        for (Row row : read(file).rows()) {
            subjects.merge(row.dataSource(), 1, Integer::sum);
        }
        return subjects;
    }

    private static String cells(Row row) {
        return String.valueOf(row.extraInfo().get("cells"));
    }

    private static DataSet read(String file) {
        return DataSet.read(shared.resolve("digits").resolve(file));
    }

    private static List<Path> files(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(Files::isRegularFile).map(folder::relativize).sorted().toList();
        }
    }
}
