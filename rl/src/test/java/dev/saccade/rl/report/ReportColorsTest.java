package dev.saccade.rl.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/// The report's colours can be read: contrast as WCAG 2.2 defines it.
final class ReportColorsTest {
    private static final Pattern THEME = Pattern.compile("\\{[^{}]*--page:[^{}]*\\}");
    private static final Pattern VARIABLE = Pattern.compile("--([a-z0-9]+): ([^;]+);");

    private static List<Map<String, double[]>> themes() throws IOException {
        String css;
        try (InputStream in =
                Objects.requireNonNull(Report.class.getResourceAsStream("report.css"))) {
            css = new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
        List<Map<String, double[]>> themes = new ArrayList<>();
        Matcher theme = THEME.matcher(css);
        while (theme.find()) {
            Map<String, double[]> colors = new HashMap<>();
            Matcher variable = VARIABLE.matcher(theme.group());
            while (variable.find()) {
                colors.put(variable.group(1), color(variable.group(2)));
            }
            themes.add(colors);
        }
        return themes;
    }

    private static double[] color(String text) {
        if (!text.startsWith("#")) {
            return Pattern.compile(" ")
                    .splitAsStream(text)
                    .mapToDouble(Double::parseDouble)
                    .toArray();
        }
        String digits = text.length() == 4 ? text.replaceAll("([0-9a-f])", "$1$1") : text;
        int value = Integer.parseInt(digits.substring(1), 16);
        return new double[] {value >> 16, (value >> 8) & 0xff, value & 0xff};
    }

    private static double luminance(double[] color) {
        double[] linear = new double[3];
        for (int i = 0; i < 3; i++) {
            double share = color[i] / 255;
            linear[i] = share <= 0.04045 ? share / 12.92 : Math.pow((share + 0.055) / 1.055, 2.4);
        }
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    }

    private static double contrast(double[] a, double[] b) {
        double one = luminance(a) + 0.05;
        double other = luminance(b) + 0.05;
        return Math.max(one, other) / Math.min(one, other);
    }

    private static double[] mixed(double[] over, double[] under, double alpha) {
        double[] mixed = new double[3];
        for (int i = 0; i < 3; i++) {
            mixed[i] = alpha * over[i] + (1 - alpha) * under[i];
        }
        return mixed;
    }

    private static double[] get(Map<String, double[]> theme, String name) {
        return Objects.requireNonNull(theme.get(name), name);
    }

    @Test
    void textCanBeReadInEveryTheme() throws IOException {
        assertThat(themes()).hasSize(4);
        for (Map<String, double[]> theme : themes()) {
            for (String text : List.of("ink", "soft", "accent", "good", "bad")) {
                for (String ground : List.of("page", "panel")) {
                    assertThat(contrast(get(theme, text), get(theme, ground)))
                            .as("%s on %s", text, ground)
                            .isGreaterThan(4.5);
                }
            }
            for (String ground : List.of("band", "odd")) {
                assertThat(contrast(get(theme, "soft"), get(theme, ground))).isGreaterThan(4.5);
            }
        }
    }

    @Test
    void aTokenCanBeReadHoweverItIsShaded() throws IOException {
        for (Map<String, double[]> theme : themes()) {
            for (double entropy = 0; entropy <= 1; entropy += 0.1) {
                double[] ground =
                        mixed(get(theme, "heat"), get(theme, "page"), 0.62 * Math.min(entropy, 1));
                assertThat(contrast(get(theme, "ink"), ground)).isGreaterThan(4.5);
            }
        }
    }

    @Test
    void linesStandOutFromTheirGround() throws IOException {
        for (Map<String, double[]> theme : themes()) {
            for (String line : List.of("s1", "s2", "s3", "s4", "s5", "s6", "mark")) {
                for (String ground : List.of("panel", "band", "odd")) {
                    assertThat(contrast(get(theme, line), get(theme, ground)))
                            .as("%s on %s", line, ground)
                            .isGreaterThan(3);
                }
            }
        }
    }
}
