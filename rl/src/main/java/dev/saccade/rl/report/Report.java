package dev.saccade.rl.report;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.AtomicFiles;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Base64;

/// The report of a run: one HTML file that loads nothing, to be read on a screen, on a phone or on
/// paper.
///
/// It shows what the run's folder holds, so a run that stopped early gives a smaller report. The
/// same folder gives the same bytes.
public final class Report {
    /// The file's name in a run's folder.
    public static final String FILE_NAME = "report.html";

    private Report() {}

    /// Writes `report.html` into a run's folder.
    ///
    /// @param run the run's folder
    /// @throws InputException when the folder holds no run, or can't be written to
    public static void write(Path run) {
        String html = html(RunReader.read(run));
        AtomicFiles.write(run.resolve(FILE_NAME), html.getBytes(StandardCharsets.UTF_8));
    }

    static String html(RunData data) {
        Html body = new Html();
        CurvesSection curves = new CurvesSection(data);
        Html results = new Html();
        results.add(new ResultsSection(data).draw()).add(curves.accuracy());
        SamplerAgreement agreement = SamplerAgreement.of(data);
        Html training = new Html();
        if (agreement != null) {
            training.add(agreement.draw());
        }
        Html others = curves.others();
        if (!others.isEmpty()) {
            training.element(
                    "p",
                    "Thin lines: every step. Thick lines: the running mean over a tenth of the"
                            + " stage. Each stage is as wide as the square root of its measured steps.",
                    "class",
                    "note");
            training.open("div", "class", "charts").add(others).close("div");
        }
        section(body, "stages", "Stages", new StagesSection(data).draw());
        section(body, "results", "Accuracy", results);
        section(body, "reasoning", "Reasoning, token by token", new ReasoningSection(data).draw());
        section(body, "critical", "Critical tokens", new CriticalSection(data).draw());
        section(body, "checkpoints", "Checkpoint selection", new CheckpointsSection(data).draw());
        section(body, "training", "Training curves", training);
        section(body, "run", "The run", new RunSection(data).draw());
        return page(data, body);
    }

    private static void section(Html body, String id, String title, Html content) {
        if (!content.isEmpty()) {
            body.open("section", "id", id).element("h2", title).add(content).close("section");
        }
    }

    private static String page(RunData data, Html body) {
        String style = resource("report.css");
        String script = resource("report.js");
        Html html = new Html();
        html.raw("<!DOCTYPE html>\n").open("html", "lang", "en").open("head");
        html.empty("meta", "charset", "utf-8");
        html.empty("meta", "name", "viewport", "content", "width=device-width, initial-scale=1");
        // Nothing is loaded, and no script but the report's own would run.
        html.empty(
                "meta",
                "http-equiv",
                "Content-Security-Policy",
                "content",
                "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
                        + hash(script)
                        + "'");
        html.empty("meta", "name", "color-scheme", "content", "light dark");
        html.element("title", data.name() + " · Saccade report");
        html.open("style").raw(style).close("style", "head").open("body");
        html.open("button", "id", "theme", "type", "button", "hidden", "hidden");
        html.text("Dark").close("button");
        html.open("main").add(new HeadSection(data).draw()).add(body);
        drawNotes(html, data);
        html.close("main").open("script").raw(script).close("script", "body", "html");
        return html.raw("\n").toString();
    }

    private static void drawNotes(Html html, RunData data) {
        if (!data.notes().isEmpty()) {
            html.open("section", "id", "notes").element("h2", "What could not be read");
            html.open("ul");
            data.notes().forEach(note -> html.element("li", note));
            html.close("ul", "section");
        }
    }

    private static String hash(String script) {
        try {
            return Base64.getEncoder()
                    .encodeToString(
                            MessageDigest.getInstance("SHA-256")
                                    .digest(script.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    private static String resource(String name) {
        try (InputStream in = Report.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IllegalStateException(name + " is not in the archive");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new IllegalStateException(name + " can't be read", e);
        }
    }
}
