package dev.saccade.rl.report;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Pictures with what the model thought about them, each token shaded by its entropy.
final class ReasoningSection {
    private static final int MOST_SAMPLES = 8;
    private static final int MOST_TOKENS = 700;
    private static final int MOST_QUESTION_CHARACTERS = 600;
    private static final Pattern USER_TURN =
            Pattern.compile("<\\|im_start\\|>user\\n(.*?)<\\|im_end\\|>", Pattern.DOTALL);
    private static final Pattern BLANKS = Pattern.compile("\\s+");
    private static final Pattern IMAGE =
            Pattern.compile("<img>.*?</img>|<IMG_CONTEXT>|<image>", Pattern.DOTALL);
    private static final Pattern CONTROL = Pattern.compile("<\\|[a-z_]+\\|>|</?think>");

    private final RunData data;

    ReasoningSection(RunData data) {
        this.data = data;
    }

    /// The files to show.
    ///
    /// @param before before reinforcement learning; null when there is none
    /// @param after after it, or the last one of a run without it
    private record Files(@Nullable Path before, Path after) {}

    Html draw() {
        Html html = new Html();
        @Nullable Files files = files();
        if (files == null) {
            return html;
        }
        List<Response> before =
                files.before() == null
                        ? new ArrayList<>()
                        : RunReader.responses(data, files.before());
        List<SamplePicker.Pair> pairs =
                SamplePicker.pairs(before, RunReader.responses(data, files.after()));
        List<SamplePicker.Pair> picked = SamplePicker.pick(pairs, MOST_SAMPLES);
        if (picked.isEmpty()) {
            return html;
        }
        double cap = entropyCap(picked);
        html.element("p", introduction(pairs, picked.size()));
        drawLegend(html, cap);
        html.open("div", "class", "samples");
        for (SamplePicker.Pair pair : picked) {
            drawSample(html, pair, cap);
        }
        return html.close("div");
    }

    private @Nullable Files files() {
        if (data.evaluationRollouts().isEmpty()) {
            return null;
        }
        Path last = data.evaluationRollouts().lastEntry().getValue();
        List<StageSpan> stages = data.reinforcement();
        if (stages.isEmpty()) {
            return new Files(null, last);
        }
        Map.@Nullable Entry<Long, Path> before =
                data.evaluationRollouts().floorEntry(stages.getFirst().from());
        Map.@Nullable Entry<Long, Path> after =
                data.evaluationRollouts().floorEntry(stages.getLast().to());
        if (after == null || (before != null && before.getKey().equals(after.getKey()))) {
            return new Files(null, last);
        }
        return new Files(before == null ? null : before.getValue(), after.getValue());
    }

    /// Where the shading ends: the 99th percentile of what is shown, rounded up, at least 1 nat.
    private static double entropyCap(List<SamplePicker.Pair> pairs) {
        List<Response> shown = new ArrayList<>();
        for (SamplePicker.Pair pair : pairs) {
            shown.add(pair.after());
            if (pair.before() != null) {
                shown.add(pair.before());
            }
        }
        double[] entropies =
                shown.stream()
                        .flatMap(response -> response.tokens().stream())
                        .mapToDouble(Response.Token::entropy)
                        .filter(Double::isFinite)
                        .sorted()
                        .toArray();
        double high = entropies.length == 0 ? 0 : entropies[entropies.length * 99 / 100];
        return Math.max(1, Math.ceil(2 * high) / 2);
    }

    private String introduction(List<SamplePicker.Pair> pairs, int picked) {
        StringJoiner counts = new StringJoiner(", ");
        SamplePicker.count(pairs)
                .forEach((outcome, count) -> counts.add(count + " " + outcome.words()));
        boolean compared = pairs.stream().anyMatch(pair -> pair.before() != null);
        String shown =
                picked == pairs.size()
                        ? "The %d held-out rows whose answers were kept.".formatted(picked)
                        : "%d of the %d held-out rows whose answers were kept, picked for variety, not at random."
                                .formatted(picked, pairs.size());
        String how =
                compared
                        ? "All of them, before and after reinforcement learning: %s (right or wrong"
                                + " alone: the same both times)."
                        : "All of them: %s.";
        return shown + " " + how.formatted(counts);
    }

    private static void drawLegend(Html html, double cap) {
        html.open("div", "class", "key").open("span").text("Entropy of a token, nats ");
        html.element("span", "0", "class", "tick");
        html.open("span", "class", "ramp", "aria-hidden", true);
        for (int i = 0; i <= 10; i++) {
            html.element("i", "", "style", "--h:" + Numbers.coordinate(i / 10.0));
        }
        html.close("span");
        html.element("span", Numbers.significant(cap) + " and above", "class", "tick")
                .close("span");
        html.open("span").element("span", "Wait", "class", "t c", "style", "--h:.4");
        html.text(" critical token").close("span");
        html.open("span", "class", "hint").text("Point at a token, or use ← → in a response.");
        html.close("span", "div");
    }

    private void drawSample(Html html, SamplePicker.Pair pair, double cap) {
        Response after = pair.after();
        String question = question(after.prompt());
        html.open("article", "class", "sample").open("div", "class", "asked");
        if (after.image() != null) {
            drawImage(html, after.image(), question, after.groundTruth());
        }
        html.open("div").element("h3", question);
        html.open("p", "class", "facts").text("Right answer ");
        html.element("b", after.groundTruth()).close("p");
        html.open("p", "class", "facts").element("span", after.dataSource(), "class", "tag");
        if (pair.before() != null) {
            html.text(" ").element("span", pair.outcome().words(), "class", "outcome");
        }
        html.close("p", "div", "div").open("div", "class", "answers");
        if (pair.before() != null) {
            drawAnswer(html, "Before RL", pair.before(), cap);
        }
        String title =
                pair.before() != null
                        ? "After RL"
                        : after.stage().isEmpty() ? "Answer" : "In stage " + after.stage();
        drawAnswer(html, title, after, cap);
        html.close("div", "article");
    }

    private void drawImage(Html html, String name, String question, String truth) {
        @Nullable EmbeddedImage image = EmbeddedImage.read(data.folder(), name);
        if (image == null) {
            html.element("p", "picture not found", "class", "no-image");
            return;
        }
        html.empty(
                "img",
                "class",
                image.isSmall() ? "small" : "",
                "src",
                image.uri(),
                "width",
                image.width(),
                "height",
                image.height(),
                "alt",
                "The picture of the question \"%s\" with the right answer %s"
                        .formatted(question, truth));
    }

    private static void drawAnswer(Html html, String title, Response response, double cap) {
        html.open("section", "class", "answer").open("h4").text(title);
        html.element("small", " step " + Numbers.whole(response.step()));
        html.element(
                "span",
                response.correct() ? "✓ right" : "✗ wrong",
                "class",
                response.correct() ? "verdict right" : "verdict wrong");
        html.close("h4");
        if (response.tokens().isEmpty()) {
            html.element("p", response.response(), "class", "tokens");
        } else {
            drawTokens(html, title, response, cap);
        }
        html.element("p", facts(response), "class", "facts");
        html.element("output", "", "class", "inspected").close("section");
    }

    private static void drawTokens(Html html, String title, Response response, double cap) {
        html.open(
                "p",
                "class",
                "tokens",
                "tabindex",
                0,
                "role",
                "group",
                "aria-label",
                title + ", tokens: left and right arrow keys read each one's entropy");
        List<Response.Token> tokens = response.tokens();
        for (Response.Token token : tokens.subList(0, Math.min(tokens.size(), MOST_TOKENS))) {
            drawToken(html, token, cap);
        }
        if (tokens.size() > MOST_TOKENS) {
            html.element(
                    "span",
                    " … %s more tokens".formatted(Numbers.whole(tokens.size() - MOST_TOKENS)),
                    "class",
                    "more");
        }
        html.close("p");
    }

    private static void drawToken(Html html, Response.Token token, double cap) {
        double shade = Double.isFinite(token.entropy()) ? token.entropy() / cap : 0;
        String cssClass =
                token.critical() ? "t c" : CONTROL.matcher(token.text()).matches() ? "t x" : "t";
        boolean newLine = token.text().contains("\\n");
        html.element(
                "span",
                token.text().replace("\\n", "↵").replace("\\t", "⇥"),
                "class",
                cssClass,
                "style",
                "--h:" + String.format(Locale.ROOT, "%.2f", Math.clamp(shade, 0, 1)),
                "title",
                describe(token));
        if (newLine) {
            html.empty("br");
        }
    }

    private static String describe(Response.Token token) {
        return "“%s” · entropy %s nats · log p %s (%s)%s%s"
                .formatted(
                        token.text(),
                        Numbers.fixed(token.entropy(), 2),
                        Numbers.fixed(token.logProb(), 2),
                        Numbers.percent(Math.exp(token.logProb())),
                        token.critical() ? " · critical token" : "",
                        token.mass() > 0
                                ? " · a critical one was drawn with "
                                        + Numbers.percent(token.mass())
                                : "");
    }

    private static String facts(Response response) {
        StringJoiner facts = new StringJoiner(" · ");
        if (Double.isFinite(response.score())) {
            facts.add("reward " + Numbers.significant(response.score()));
        }
        if (!response.format()) {
            facts.add("format broken");
        }
        int tokens = response.tokens().size();
        if (tokens > 0) {
            facts.add(Numbers.whole(tokens) + (tokens == 1 ? " token" : " tokens"));
            facts.add("mean entropy " + Numbers.fixed(response.meanEntropy(), 2) + " nats");
        }
        return facts.toString();
    }

    /// The question without the conversation's marks and the places of its pictures.
    static String question(String prompt) {
        Matcher turns = USER_TURN.matcher(prompt);
        String text = prompt;
        while (turns.find()) {
            text = turns.group(1);
        }
        text = CONTROL.matcher(IMAGE.matcher(text).replaceAll(" ")).replaceAll(" ");
        String question = BLANKS.matcher(text.strip()).replaceAll(" ");
        return question.length() <= MOST_QUESTION_CHARACTERS
                ? question
                : question.substring(0, MOST_QUESTION_CHARACTERS) + "…";
    }
}
