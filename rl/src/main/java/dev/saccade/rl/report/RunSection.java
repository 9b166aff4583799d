package dev.saccade.rl.report;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import tools.jackson.databind.JsonNode;

/// What the run was: its facts, its settings stage by stage, its recipe.
final class RunSection {
    private final RunData data;

    RunSection(RunData data) {
        this.data = data;
    }

    Html draw() {
        Html html = new Html();
        drawFacts(html);
        drawSettings(html);
        if (data.configText() != null) {
            html.open("details").element("summary", "The whole recipe (config.yaml)");
            html.open("pre", "tabindex", 0).element("code", data.configText());
            html.close("pre", "details");
        }
        return html;
    }

    private void drawFacts(Html html) {
        JsonNode summary = data.summary();
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("Recipe", data.name());
        put(facts, "Seed", summary.has("seed") ? summary.path("seed") : data.config().path("seed"));
        put(facts, "Saccade", summary.path("version"));
        put(facts, "Device", summary.path("device"));
        put(facts, "Type", summary.path("dtype"));
        put(facts, "Threads", summary.path("threads"));
        if (summary.has("seconds")) {
            facts.put(
                    "Compute time", Numbers.duration(summary.path("seconds").asDouble(Double.NaN)));
        }
        if (summary.has("parameters")) {
            facts.put("Parameters", Numbers.whole(summary.path("parameters").asLong(0)));
        }
        StringJoiner words = new StringJoiner(", ");
        for (JsonNode word : data.config().path("entropy").path("critical_words")) {
            words.add(word.asString(""));
        }
        if (words.length() > 0) {
            facts.put("Critical words", words.toString());
        }
        if (data.config().path("reward").path("accuracy").isNumber()) {
            double weight = data.config().path("reward").path("accuracy").asDouble(Double.NaN);
            facts.put(
                    "Reward",
                    "%s accuracy + %s format"
                            .formatted(
                                    Numbers.significant(weight), Numbers.significant(1 - weight)));
        }
        double failures =
                data.lines().stream()
                        .mapToDouble(line -> line.values().getOrDefault("reward/failures", 0.0))
                        .sum();
        facts.put("Failed reward calls", Numbers.whole((long) failures));
        put(facts, "Selected checkpoint", summary.path("selected_checkpoint"));
        put(facts, "Final checkpoint", summary.path("final_checkpoint").path("path"));
        put(
                facts,
                "Its model.safetensors, SHA-256",
                summary.path("final_checkpoint").path("sha256"));
        if (data.configText() != null) {
            facts.put("config.yaml, SHA-256", sha256(data.configText()));
        }
        html.open("dl", "class", "facts-table");
        facts.forEach((name, value) ->
                html.open("div").element("dt", name).element("dd", value).close("div"));
        html.close("dl");
    }

    private static void put(Map<String, String> facts, String name, JsonNode value) {
        String text = value.isValueNode() && !value.isNull() ? value.asString("") : "";
        if (!text.isEmpty()) {
            facts.put(name, text);
        }
    }

    private static String sha256(String text) {
        try {
            return HexFormat.of()
                    .formatHex(
                            MessageDigest.getInstance("SHA-256")
                                    .digest(text.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    private void drawSettings(Html html) {
        List<Map<String, String>> stages = new ArrayList<>();
        Set<String> keys = new LinkedHashSet<>();
        for (JsonNode stage : data.config().path("stages")) {
            Map<String, String> settings = new LinkedHashMap<>();
            flatten("", stage, settings);
            stages.add(settings);
            keys.addAll(settings.keySet());
        }
        if (stages.isEmpty()) {
            return;
        }
        keys.remove("name");
        html.open(
                "div",
                "class",
                "scroll",
                "tabindex",
                0,
                "role",
                "region",
                "aria-label",
                "Settings of the stages");
        html.open("table", "class", "settings").element("caption", "Settings of the stages");
        html.open("thead").open("tr").element("th", "Setting", "scope", "col");
        for (Map<String, String> stage : stages) {
            html.element("th", stage.getOrDefault("name", ""), "scope", "col");
        }
        html.close("tr", "thead").open("tbody");
        for (String key : keys) {
            html.open("tr").open("th", "scope", "row").element("code", key).close("th");
            for (Map<String, String> stage : stages) {
                html.element("td", stage.getOrDefault(key, ""));
            }
            html.close("tr");
        }
        html.close("tbody", "table", "div");
    }

    private static void flatten(String prefix, JsonNode node, Map<String, String> settings) {
        for (Map.Entry<String, JsonNode> entry : node.properties()) {
            String key = prefix + entry.getKey();
            JsonNode value = entry.getValue();
            if (value.isObject()) {
                flatten(key + ".", value, settings);
            } else if (value.isArray()) {
                StringJoiner items = new StringJoiner(", ");
                value.forEach(item -> items.add(setting(item)));
                settings.put(key, items.toString());
            } else {
                settings.put(key, setting(value));
            }
        }
    }

    /// A value as a recipe writes it: `1e-4`, not `1.0E-4`.
    private static String setting(JsonNode value) {
        if (!value.isFloatingPointNumber()) {
            return value.asString("");
        }
        String text =
                String.valueOf(value.asDouble(Double.NaN)).replace('E', 'e').replace(".0e", "e");
        return text.endsWith(".0") ? text.substring(0, text.length() - 2) : text;
    }
}
