package dev.saccade.bench;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClasspathRoots;
import static org.junit.platform.launcher.MethodFilter.includeMethodNamePatterns;

import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TagFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.TestPlan;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/// `saccade selftest`: runs the tests that depend on the device (tag `device`) on this machine's
/// devices and prints a table. Exit status 0: all passed; 1: one failed; 2: wrong usage.
public final class SelfTest implements TestExecutionListener {
    private static final String USAGE =
            """
            Usage: saccade selftest [--device cpu|cuda[:N]] [--only PATTERN] [--failures N]

            Runs the contract tests of every kernel, the tape, the model and the laws on this
            machine's devices, and prints a table: passed, failed and skipped by device and type.

                  --device DEVICE  Only this device (default: all there are).
                  --only PATTERN   Only the tests whose Class.method contains this regular expression.
                  --failures N     Show at most N failures in full (default: 10).
              -h, --help           Show this help and exit.
            """;

    /// The columns of the table, in the order of the names in a test's title.
    private enum Column {
        CPU_F32,
        CUDA_F32,
        CUDA_BF16,
        OTHER;

        static Column of(String title) {
            for (Column column : values()) {
                if (title.contains(column.name())) {
                    return column;
                }
            }
            return OTHER;
        }

        String title() {
            return name().toLowerCase(Locale.ROOT).replace('_', ' ');
        }
    }

    private static final class Counts {
        private int passed;
        private int failed;
        private int skipped;

        @Override
        public String toString() {
            if (passed + failed + skipped == 0) {
                return "-";
            }
            return passed
                    + (failed > 0 ? " passed, " + failed + " FAILED" : " passed")
                    + (skipped > 0 ? ", " + skipped + " skipped" : "");
        }
    }

    private final Map<String, Map<Column, Counts>> classes = new TreeMap<>();
    private final Map<String, Integer> skips = new LinkedHashMap<>();
    private final List<String> failures = new ArrayList<>();
    private final PrintStream progress;
    private final int shownFailures;
    private @Nullable TestPlan plan;
    private String current = "";

    private SelfTest(PrintStream progress, int shownFailures) {
        this.progress = progress;
        this.shownFailures = shownFailures;
    }

    /// Runs the tests and ends the process.
    public static void main(String[] arguments) {
        System.exit(run(arguments));
    }

    private static int run(String[] arguments) {
        String device = "";
        String only = "";
        int shown = 10;
        for (int i = 0; i < arguments.length; i++) {
            String argument = arguments[i];
            switch (argument) {
                case "-h", "--help" -> {
                    System.out.print(USAGE);
                    return 0;
                }
                case "--device", "--only", "--failures" -> {
                    if (i + 1 == arguments.length) {
                        return usage(argument + " needs a value");
                    }
                    String value = arguments[++i];
                    switch (argument) {
                        case "--device" -> device = value;
                        case "--only" -> only = value;
                        default -> {
                            if (!value.matches("\\d{1,6}")) {
                                return usage("--failures " + value + " is not a number");
                            }
                            shown = Integer.parseInt(value);
                        }
                    }
                }
                default -> {
                    return usage("unknown option '" + argument + "'");
                }
            }
        }
        if (!device.matches("|cpu|cuda(:\\d{1,3})?")) {
            return usage("--device " + device + ": there is no such device; use cpu or cuda[:N]");
        }
        try {
            Pattern.compile(only);
        } catch (PatternSyntaxException e) {
            return usage("--only " + only + " is not a regular expression");
        }
        System.setProperty("saccade.test.device", device);
        SelfTest listener = new SelfTest(System.err, shown);
        LauncherDiscoveryRequest request =
                LauncherDiscoveryRequestBuilder.request()
                        .selectors(selectClasspathRoots(roots()))
                        .filters(
                                includeMethodNamePatterns(".*(" + only + ").*"),
                                TagFilter.includeTags("device"))
                        .build();
        long start = System.nanoTime();
        LauncherFactory.create().execute(request, listener);
        return listener.finish((System.nanoTime() - start) / 1_000_000_000L);
    }

    private static int usage(String problem) {
        System.err.println("saccade: selftest: " + problem + "; see 'saccade selftest --help'");
        return 2;
    }

    /// The jars with tests on the class path.
    private static Set<Path> roots() {
        Set<Path> roots = new HashSet<>();
        for (String entry : System.getProperty("java.class.path").split(":", -1)) {
            if (entry.endsWith("-tests.jar") || entry.endsWith("test-classes")) {
                roots.add(Path.of(entry));
            }
        }
        return roots;
    }

    @Override
    public void testPlanExecutionStarted(TestPlan testPlan) {
        plan = testPlan;
    }

    @Override
    public void executionStarted(TestIdentifier test) {
        if (test.getSource().orElse(null) instanceof ClassSource source) {
            String name = simpleName(source.getClassName());
            if (!name.equals(current)) {
                current = name;
                progress.println("selftest: " + name);
            }
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        if (test.isTest()) {
            counts(test).skipped++;
            skips.merge(reason, 1, Integer::sum);
        }
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        boolean failed = result.getStatus() == TestExecutionResult.Status.FAILED;
        if (!test.isTest() && !failed) {
            return;
        }
        Counts counts = counts(test);
        switch (result.getStatus()) {
            case SUCCESSFUL -> counts.passed++;
            case ABORTED -> {
                String reason =
                        result.getThrowable()
                                .map(Throwable::getMessage)
                                .orElse("aborted")
                                .replace("Assumption failed: ", "");
                if (!reason.equals("not asked for")) {
                    counts.skipped++;
                    skips.merge(reason, 1, Integer::sum);
                }
            }
            case FAILED -> {
                counts.failed++;
                String title = className(test) + " " + title(test);
                Throwable cause = result.getThrowable().orElse(null);
                progress.println("selftest: FAILED " + title + ": " + firstLines(cause, 1));
                failures.add(title + "\n" + firstLines(cause, 12));
            }
        }
    }

    private Counts counts(TestIdentifier test) {
        return classes.computeIfAbsent(className(test), _ -> new EnumMap<>(Column.class))
                .computeIfAbsent(Column.of(titles(test)), _ -> new Counts());
    }

    /// The names of a test and of all that holds it: a class may be run once for each target.
    private String titles(TestIdentifier test) {
        StringBuilder titles = new StringBuilder();
        TestPlan tests = plan;
        for (TestIdentifier at = test;
                at != null;
                at = tests == null ? null : tests.getParent(at).orElse(null)) {
            titles.append(at.getDisplayName()).append(' ');
        }
        return titles.toString();
    }

    /// The names of a test and of what holds it, below the class.
    private String title(TestIdentifier test) {
        TestPlan tests = plan;
        String parent =
                tests == null
                        ? ""
                        : tests.getParent(test)
                                .filter(p -> p.getSource().orElse(null) instanceof MethodSource)
                                .map(TestIdentifier::getDisplayName)
                                .orElse("");
        return parent + " " + test.getDisplayName();
    }

    private static String className(TestIdentifier test) {
        return switch (test.getSource().orElse(null)) {
            case MethodSource method -> simpleName(method.getClassName());
            case ClassSource source -> simpleName(source.getClassName());
            case null, default -> test.getDisplayName();
        };
    }

    private static String simpleName(String className) {
        return className.substring(className.lastIndexOf('.') + 1);
    }

    private static String firstLines(@Nullable Throwable cause, int lines) {
        if (cause == null) {
            return "no reason given";
        }
        StringBuilder text = new StringBuilder();
        String message = String.valueOf(cause.getMessage()).strip();
        List<String> all = new ArrayList<>(message.lines().toList());
        all.set(0, cause.getClass().getSimpleName() + ": " + all.getFirst());
        if (lines > 1) {
            for (StackTraceElement element : cause.getStackTrace()) {
                if (element.getClassName().startsWith("dev.saccade")) {
                    all.add("  at " + element);
                }
            }
            Throwable deeper = cause.getCause();
            if (deeper != null) {
                all.add("  because of " + deeper);
            }
        }
        for (String line : all.subList(0, Math.min(lines, all.size()))) {
            text.append(text.isEmpty() ? "" : "\n").append(line);
        }
        return text.toString();
    }

    private int finish(long seconds) {
        int passed = 0;
        int failed = 0;
        int skipped = 0;
        System.out.printf("%-34s", "");
        for (Column column : Column.values()) {
            System.out.printf(" %-30s", column.title());
        }
        System.out.println();
        for (Map.Entry<String, Map<Column, Counts>> entry : classes.entrySet()) {
            System.out.printf("%-34s", entry.getKey());
            for (Column column : Column.values()) {
                Counts counts = entry.getValue().getOrDefault(column, new Counts());
                System.out.printf(" %-30s", counts);
                passed += counts.passed;
                failed += counts.failed;
                skipped += counts.skipped;
            }
            System.out.println();
        }
        skips.forEach((reason, count) -> System.out.printf("skipped %d: %s%n", count, reason));
        for (String failure : failures.subList(0, Math.min(shownFailures, failures.size()))) {
            System.out.printf("%nFAILED %s%n", failure);
        }
        System.out.printf(
                "%n%d passed, %d failed, %d skipped in %d s%n", passed, failed, skipped, seconds);
        if (passed == 0 && failed == 0) {
            System.err.println("saccade: selftest: no test ran");
            return 1;
        }
        return failed == 0 ? 0 : 1;
    }
}
