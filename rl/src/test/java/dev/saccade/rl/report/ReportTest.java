package dev.saccade.rl.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;
import org.xml.sax.SAXException;

final class ReportTest {
    private static final Pattern RAW_TEXT =
            Pattern.compile("(<(style|script)>).*?(</\\2>)", Pattern.DOTALL);

    @TempDir Path run;

    private String report() {
        Report.write(run);
        try {
            return Files.readString(run.resolve("report.html"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// The page as a tree: the report is well-formed XML but for its style and script.
    private static Document parsed(String html) {
        String xml = RAW_TEXT.matcher(html).replaceAll("$1$3").replace("<!DOCTYPE html>", "");
        try {
            return DocumentBuilderFactory.newInstance()
                    .newDocumentBuilder()
                    .parse(new InputSource(new StringReader(xml.strip())));
        } catch (ParserConfigurationException | SAXException | IOException e) {
            throw new AssertionError("the page is not well-formed", e);
        }
    }

    private static List<Element> elements(Document page, String tag) {
        NodeList nodes = page.getElementsByTagName(tag);
        List<Element> elements = new ArrayList<>();
        for (int i = 0; i < nodes.getLength(); i++) {
            elements.add((Element) nodes.item(i));
        }
        return elements;
    }

    private static List<String> sections(Document page) {
        return elements(page, "section").stream()
                .map(section -> section.getAttribute("id"))
                .filter(id -> !id.isEmpty())
                .toList();
    }

    private void edit(String file, String from, String to) throws IOException {
        Path path = run.resolve(file);
        String text = Files.readString(path);
        assertThat(text).contains(from);
        Files.writeString(path, text.replace(from, to));
    }

    @Test
    void showsAWholeRun() throws IOException {
        SyntheticRun.write(run);
        String html = report();
        Document page = parsed(html);
        assertThat(sections(page))
                .containsExactly(
                        "stages",
                        "results",
                        "reasoning",
                        "critical",
                        "checkpoints",
                        "training",
                        "run");
        assertThat(html)
                .contains("Reinforcement learning raised accuracy")
                .contains("Trained on: sum +")
                .contains("equal bit for bit")
                .contains("1.04\u202fM parameters")
                .contains("Rank correlation over all of them")
                .contains("✓ right")
                .contains("✗ wrong")
                .contains("critical token")
                .contains("Tokens by entropy")
                .contains("Evaluation after step 1,070; the lines are step 950, before RL.")
                .contains("critical token possible, 0.25 to 0.5 nats: 58 (")
                .contains("10 nats and above")
                .contains("data:image/png;base64,")
                .doesNotContain("not finished")
                .doesNotContain("could not be read")
                .doesNotContain("NaN");
        assertThat(elements(page, "article")).hasSize(8);
        assertThat(elements(page, "figure")).hasSize(14);
        assertThat(html)
                .contains("Tokens above 6.8 nats")
                .contains("a critical one was drawn with 37.5\u202f%");
        Element critical =
                elements(page, "table").stream()
                        .filter(table ->
                                table.getTextContent()
                                        .startsWith("Entropy where reasoning takes a turn"))
                        .findFirst()
                        .orElseThrow();
        assertThat(critical.getTextContent())
                .contains("all subjects", "sum", "count", "right answers", "wrong answers")
                .contains("0.875", "mean mass", "3.1\u202f%")
                .doesNotContain("position");
        try (Stream<Path> left = Files.list(run)) {
            assertThat(left.map(file -> file.getFileName().toString()))
                    .contains("report.html")
                    .noneMatch(name -> name.endsWith(".tmp"));
        }
    }

    @Test
    void needsNothingElse() throws IOException {
        SyntheticRun.write(run);
        String html = report();
        Document page = parsed(html);
        assertThat(html.replaceAll("url\\(#[a-z-]+\\)", "")).doesNotContain("url(");
        assertThat(html)
                .doesNotContain("@import")
                .doesNotContain("//cdn")
                .doesNotContain("http://");
        assertThat(elements(page, "link")).isEmpty();
        assertThat(elements(page, "iframe")).isEmpty();
        assertThat(elements(page, "script")).hasSize(1);
        for (Element image : elements(page, "img")) {
            assertThat(image.getAttribute("src")).startsWith("data:image/");
            assertThat(image.getAttribute("alt")).isNotBlank();
        }
        assertThat(html).contains("default-src &#39;none&#39;");
    }

    @Test
    void isAccessible() throws IOException {
        SyntheticRun.write(run);
        Document page = parsed(report());
        Map<String, Integer> ids = new HashMap<>();
        NodeList all = page.getElementsByTagName("*");
        for (int i = 0; i < all.getLength(); i++) {
            String id = ((Element) all.item(i)).getAttribute("id");
            if (!id.isEmpty()) {
                ids.merge(id, 1, Integer::sum);
            }
        }
        assertThat(ids.values()).containsOnly(1);
        for (Element drawing : elements(page, "svg")) {
            boolean decoration = drawing.getAttribute("aria-hidden").equals("true");
            assertThat(decoration || !drawing.getAttribute("aria-label").isBlank()).isTrue();
        }
        for (Element header : elements(page, "th")) {
            assertThat(header.getAttribute("scope")).isIn("row", "col");
        }
        assertThat(elements(page, "h1")).hasSize(1);
        assertThat(elements(page, "html").getFirst().getAttribute("lang")).isEqualTo("en");
    }

    @Test
    void isTheSameEachTime() throws IOException {
        SyntheticRun.write(run);
        assertThat(report()).isEqualTo(report());
    }

    @Test
    void whatARunSaysIsNeverMarkup() throws IOException {
        SyntheticRun.write(run);
        String evil =
                "</span><script>alert(1)</script><img src=x onerror=alert(2)>'\\\" onload=\\\"";
        edit("rollouts/eval-step-1070.jsonl", "\"I see\"", "\"" + evil + "\"");
        edit("rollouts/eval-step-1070.jsonl", "What is the sum?", evil);
        edit("rollouts/eval-step-1070.jsonl", "\"ground_truth\":\"1", "\"ground_truth\":\"" + evil);
        edit("metrics.jsonl", "val-core/sum/", "val-core/" + evil + "/");
        edit("metrics.jsonl", "\"stage\":\"grpo\"", "\"stage\":\"" + evil + "\"");
        edit("summary.json", "\"grpo\"", "\"" + evil + "\"");
        edit("summary.json", "\"sum\"", "\"" + evil + "\"");
        edit("summary.json", "checkpoints/step-1040", evil);
        edit("config.yaml", "\"quick\"", "\"" + evil + "\"");
        String html = report();
        assertThat(html).doesNotContain("<script>alert").doesNotContain("<img src=x");
        Document page = parsed(html);
        assertThat(elements(page, "script")).hasSize(1);
        NodeList all = page.getElementsByTagName("*");
        for (int i = 0; i < all.getLength(); i++) {
            assertThat(((Element) all.item(i)).hasAttribute("onerror")).isFalse();
            assertThat(((Element) all.item(i)).hasAttribute("onload")).isFalse();
        }
    }

    @Test
    void charactersThatHtmlCantHoldAreReplaced() {
        assertThat(Html.escape("a\u0000b\ud800c\u202ed\u200be<>&\"'"))
                .isEqualTo("a\ufffdb\ufffdc\ufffdd\ufffde&lt;&gt;&amp;&quot;&#39;");
        assertThat(Html.escape("x\n\ty 😀 é 等")).isEqualTo("x\n\ty 😀 é 等");
    }

    @ParameterizedTest
    @ValueSource(strings = {"config.yaml", "metrics.jsonl", "summary.json"})
    void oneFileIsEnough(String only) throws IOException {
        Path whole = Files.createDirectory(run.resolve("whole"));
        SyntheticRun.write(whole);
        Files.copy(whole.resolve(only), run.resolve(only));
        Document page = parsed(report());
        assertThat(sections(page)).contains("stages", "run").doesNotContain("reasoning", "notes");
    }

    @ParameterizedTest
    @ValueSource(strings = {"config.yaml", "metrics.jsonl", "summary.json", "rollouts", "data"})
    void oneFileMayBeMissing(String missing) throws IOException {
        SyntheticRun.write(run);
        Files.move(run.resolve(missing), run.resolve("elsewhere"));
        String html = report();
        assertThat(sections(parsed(html))).contains("stages", "run").doesNotContain("notes");
        assertThat(html).doesNotContain("NaN");
    }

    @Test
    void aRunThatStoppedEarly() throws IOException {
        SyntheticRun.write(run);
        List<String> lines = Files.readAllLines(run.resolve("metrics.jsonl"));
        Files.writeString(
                run.resolve("metrics.jsonl"),
                String.join("\n", lines.subList(0, 1000)) + "\n{\"st");
        Files.delete(run.resolve("summary.json"));
        Files.delete(run.resolve("rollouts/eval-step-1070.jsonl"));
        String html = report();
        assertThat(html)
                .contains("This run is not finished: 994 of 1,190 steps are done.")
                .contains("120 steps, not begun")
                .contains("metrics.jsonl: 1 damaged line was left out.")
                .doesNotContain("NaN");
        assertThat(sections(parsed(html)))
                .containsExactly(
                        "stages", "results", "reasoning", "critical", "training", "run", "notes");
    }

    @Test
    void aRunWithoutReinforcementLearning() throws IOException {
        SyntheticRun.write(run);
        edit("config.yaml", "kind: grpo", "kind: sft");
        edit("summary.json", "\"kind\" : \"grpo\"", "\"kind\" : \"sft\"");
        String html = report();
        assertThat(html)
                .doesNotContain("Reinforcement learning")
                .doesNotContain("Before RL")
                .contains("In stage grpo");
        parsed(html);
    }

    @Test
    void aRunThatHasJustBegun() throws IOException {
        Files.writeString(run.resolve("config.yaml"), SyntheticRun.CONFIG);
        Files.writeString(run.resolve("metrics.jsonl"), "");
        String html = report();
        assertThat(html).contains("This run is not finished: 0 of 1,190 steps are done.");
        parsed(html);
    }

    @Test
    void damagedFilesAreNoted() throws IOException {
        SyntheticRun.write(run);
        Files.writeString(run.resolve("summary.json"), "{\"name\": ");
        Files.writeString(run.resolve("config.yaml"), "a: [b\n: c");
        Files.write(run.resolve("rollouts/eval-step-950.jsonl"), new byte[] {1, -1, '\n', 2});
        String html = report();
        assertThat(html)
                .contains("summary.json is damaged and was left out.")
                .contains("config.yaml is damaged and was left out.");
        parsed(html);
    }

    @Test
    void surprisingValuesAreNoTrouble() throws IOException {
        Files.writeString(
                run.resolve("summary.json"),
                "{\"name\":[1],\"seed\":{},\"seconds\":\"x\",\"stages\":[1,{\"name\":null}],"
                        + "\"checkpoints\":{\"a\":1},\"parameters\":\"many\",\"threads\":null}");
        Files.writeString(run.resolve("config.yaml"), "stages: {a: 1}\nseed: [x]\n");
        Files.writeString(
                run.resolve("metrics.jsonl"),
                """
                {"step":1,"stage":"a","train/loss":1e300,"actor/grad_norm":null}
                {"step":2,"stage":"a","train/loss":1e-300,"actor/grad_norm":"x"}
                {"step":3,"stage":"a","train/loss":0}
                {"step":2,"stage":"b","train/loss":-1e300,"perf/throughput":5}
                {"step":9000000000000,"stage":"c","perf/throughput":5}
                {}
                []
                """);
        Files.createDirectories(run.resolve("rollouts"));
        Files.writeString(
                run.resolve("rollouts/eval-step-3.jsonl"),
                """
                {}
                {"tokens":[{"t":"a","h":null,"lp":null},{}],"prompt":7,"image":"\\u0000"}
                {"tokens":{"t":1},"image":"../../../../../../../../etc/hostname","score":"x"}
                """);
        parsed(report());
    }

    @Test
    void onlyPicturesAreEmbedded() throws IOException {
        SyntheticRun.write(run);
        Files.writeString(run.resolve("secret.txt"), "the secret of the run");
        edit("rollouts/eval-step-1070.jsonl", "data/images/0.png", "secret.txt");
        edit("rollouts/eval-step-950.jsonl", "data/images/0.png", "secret.txt");
        Files.write(run.resolve("data/images/1.png"), new byte[] {(byte) 0x89, 'P', 'N', 'G', 0});
        assertThat(EmbeddedImage.read(run, "secret.txt")).isNull();
        assertThat(EmbeddedImage.read(run, "data/images/1.png")).isNull();
        assertThat(EmbeddedImage.read(run, "data/images/none.png")).isNull();
        assertThat(EmbeddedImage.read(run, "data")).isNull();
        assertThat(EmbeddedImage.read(run, "data/images/2.png"))
                .satisfies(image -> assertThat(image.width()).isEqualTo(56));
        parsed(report());
    }

    @Test
    void aDifferenceOfSamplerAndTrainerIsSaidLoudly() throws IOException {
        SyntheticRun.write(run);
        edit(
                "metrics.jsonl",
                "\"training/rollout_logprob_max_difference\":0.0",
                "\"training/rollout_logprob_max_difference\":0.0125");
        assertThat(report())
                .contains("largest difference: should be 0")
                .contains("0.0125")
                .doesNotContain("equal bit for bit");
    }

    @Test
    void aLossOfAccuracyIsCalledOne() throws IOException {
        SyntheticRun.write(run);
        String summary = Files.readString(run.resolve("summary.json"));
        Matcher after =
                Pattern.compile("\"accuracy_after\" : \\{[^}]*\"all\" : ([0-9.]+)")
                        .matcher(summary);
        StringBuilder lower = new StringBuilder();
        while (after.find()) {
            after.appendReplacement(
                    lower, Matcher.quoteReplacement(after.group().replace(after.group(1), "0.1")));
        }
        after.appendTail(lower);
        Files.writeString(run.resolve("summary.json"), lower);
        assertThat(report()).contains("lowered").contains("10.0\u202f%").contains("delta down");
    }

    @Test
    void aFolderWithoutARunIsBadInput() {
        assertThatThrownBy(() -> Report.write(run))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("holds no run");
        assertThatThrownBy(() -> Report.write(run.resolve("none")))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("no such folder");
    }
}
