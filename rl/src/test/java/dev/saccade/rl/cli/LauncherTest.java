package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.jar.Attributes;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The launcher in a folder of its own, where "the usual folders" for JDKs are the test's.
final class LauncherTest {
    private static final List<String> TOOLS =
            List.of(
                    "bash",
                    "cat",
                    "dirname",
                    "find",
                    "grep",
                    "head",
                    "mkdir",
                    "readlink",
                    "rm",
                    "sed",
                    "sort",
                    "tail",
                    "touch",
                    "tr");

    /// A java that says which one it is, with a warning of the JVM's and a message of the
    /// program's.
    private static final String FAKE_JAVA =
            """
            #!/bin/sh
            echo "ran $0 with $*"
            echo "WARNING: Using incubator modules: jdk.incubator.vector" >&2
            echo "another warning" >&2
            eval "echo message >&$SACCADE_STDERR"
            exit 7
            """;

    @TempDir Path temporary = Path.of("");
    private Path home = Path.of("");
    private Path tools = Path.of("");

    @BeforeEach
    void copyTheLauncher() throws IOException {
        tools = Files.createDirectory(temporary.resolve("tools"));
        for (String tool : TOOLS) {
            Optional<Path> found = find(tool);
            assumeTrue(found.isPresent(), "the launcher needs " + tool + ", which is not here");
            script(
                    tools.resolve(tool),
                    "#!/bin/sh\nexec '%s' \"$@\"\n".formatted(found.orElseThrow()));
        }
        home = Files.createDirectory(temporary.resolve("home of saccade"));
        String text = Files.readString(original(), StandardCharsets.UTF_8);
        for (String usual : List.of("/usr/lib/jvm/", "/usr/java/", "/opt/", "/Library/")) {
            assertThat(text).contains(" " + usual);
            text = text.replace(" " + usual, " " + temporary + usual);
        }
        script(home.resolve("saccade"), text);
        Files.createDirectories(home.resolve("rl/src/main"));
        Files.writeString(home.resolve("pom.xml"), "<project/>");
        Files.writeString(home.resolve("rl/pom.xml"), "<project/>");
        for (String older : List.of("pom.xml", "rl/pom.xml", "rl/src/main")) {
            Files.setLastModifiedTime(
                    home.resolve(older), FileTime.from(Instant.now().minusSeconds(60)));
        }
        Files.createDirectories(home.resolve("target/app/lib"));
        Files.writeString(home.resolve("target/app/built"), "");
    }

    private static Path original() {
        Path folder = Path.of("").toAbsolutePath();
        while (folder != null && !Files.isRegularFile(folder.resolve("saccade"))) {
            folder = folder.getParent();
        }
        assumeTrue(folder != null, "the launcher is not above the working directory");
        return folder == null ? Path.of("") : folder.resolve("saccade");
    }

    private static Optional<Path> find(String tool) {
        return Stream.of(System.getenv("PATH").split(File.pathSeparator, -1))
                .map(folder -> Path.of(folder, tool))
                .filter(Files::isExecutable)
                .findFirst();
    }

    private static void script(Path file, String text) throws IOException {
        Files.createDirectories(file.resolveSibling(""));
        Files.writeString(file, text, StandardCharsets.UTF_8);
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    /// A folder that looks like a JDK.
    private Path jdk(String place, String version) throws IOException {
        Path folder = temporary.resolve(place);
        script(folder.resolve("bin/java"), FAKE_JAVA);
        script(folder.resolve("bin/javac"), "#!/bin/sh\n");
        Files.writeString(
                folder.resolve("release"),
                "IMPLEMENTOR=\"Somebody\"\nJAVA_VERSION=\"" + version + "\"\n");
        return folder;
    }

    private record Result(int status, String out, String err) {}

    private Result launch(Map<String, String> environment, String... arguments)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(home.resolve("saccade").toString()));
        command.addAll(List.of(arguments));
        return shell(environment, command);
    }

    private Result shell(Map<String, String> environment, List<String> command)
            throws IOException, InterruptedException {
        File out = temporary.resolve("out.txt").toFile();
        File err = temporary.resolve("err.txt").toFile();
        ProcessBuilder builder =
                new ProcessBuilder(command)
                        .directory(temporary.toFile())
                        .redirectOutput(out)
                        .redirectError(err);
        builder.environment().clear();
        builder.environment().put("HOME", temporary.toString());
        builder.environment().put("PATH", tools.toString());
        builder.environment().putAll(environment);
        Process process = builder.start();
        process.getOutputStream().close();
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        // The filter of the JVM's warnings may end a little after the program.
        String errors = Files.readString(err.toPath());
        for (int i = 0; i < 100 && errors.contains("message") && !errors.contains("another"); i++) {
            Thread.sleep(10);
            errors = Files.readString(err.toPath());
        }
        return new Result(process.exitValue(), Files.readString(out.toPath()), errors);
    }

    private static String oneLine(Result result) {
        assertThat(result.status()).as(result.err()).isEqualTo(2);
        assertThat(result.out()).isEmpty();
        assertThat(result.err().lines()).hasSize(1);
        assertThat(result.err()).startsWith("saccade: ");
        return result.err();
    }

    @Test
    void withoutAJdkItSaysWhatToInstall() throws Exception {
        assertThat(oneLine(launch(Map.of(), "doctor")))
                .contains("no JDK 25 or newer found: install one", "JAVA_HOME");
    }

    @Test
    void aJdkThatIsTooOldIsNamed() throws Exception {
        Path path = jdk("old/jdk-17", "17.0.9");
        Path home8 = jdk("old/jdk-8", "1.8.0_392");
        jdk("usr/lib/jvm/java-21", "21.0.2");
        assertThat(
                        oneLine(
                                launch(
                                        Map.of(
                                                "JAVA_HOME",
                                                home8.toString(),
                                                "PATH",
                                                path.resolve("bin") + ":" + tools),
                                        "doctor")))
                .contains("no JDK 25 or newer found (found only: JDK 8, JDK 17, JDK 21): install");
    }

    @Test
    void aRuntimeWithoutACompilerIsNoJdk() throws Exception {
        Path runtime = jdk("usr/lib/jvm/jre-25", "25");
        Files.delete(runtime.resolve("bin/javac"));
        assertThat(oneLine(launch(Map.of(), "doctor"))).contains("no JDK 25 or newer found:");
    }

    @Test
    void javaHomeServesAlthoughTheJavaOfThePathIsOlder() throws Exception {
        Path old = jdk("old/jdk-17", "17.0.9");
        Path recent = jdk("some where/jdk", "25.0.1");
        Result result =
                launch(
                        Map.of(
                                "JAVA_HOME",
                                recent.toString(),
                                "PATH",
                                old.resolve("bin") + ":" + tools),
                        "train",
                        "a b");
        assertThat(result.out())
                .startsWith("ran " + recent.resolve("bin/java") + " with ")
                .contains("--add-modules=jdk.incubator.vector")
                .endsWith("dev.saccade.rl.cli.Main train a b\n");
        assertThat(result.status()).as("the program's own").isEqualTo(7);
    }

    @Test
    void theUsualFoldersServeWhereJavaHomeIsOld() throws Exception {
        Path old = jdk("old/jdk-24", "24");
        Path recent = jdk("usr/lib/jvm/jdk-26", "26-ea");
        assertThat(launch(Map.of("JAVA_HOME", old.toString()), "doctor").out())
                .startsWith("ran " + recent.resolve("bin/java"));
    }

    @Test
    void theVectorApisWarningIsDroppedAndNothingElse() throws Exception {
        jdk("usr/lib/jvm/jdk-25", "25");
        assertThat(launch(Map.of(), "doctor").err().lines())
                .containsExactlyInAnyOrder("message", "another warning");
    }

    @Test
    void withoutMavenItSaysWhatToInstall() throws Exception {
        jdk("usr/lib/jvm/jdk-25", "25");
        Files.delete(home.resolve("target/app/built"));
        assertThat(oneLine(launch(Map.of(), "doctor"))).contains("Maven is not installed");
        assertThat(oneLine(launch(Map.of(), "test"))).contains("Maven is not installed");
    }

    @Test
    void whatIsStaleIsBuiltAndAFailureNamesTheLog() throws Exception {
        jdk("usr/lib/jvm/jdk-25", "25");
        script(
                tools.resolve("mvn"),
                "#!/bin/sh\necho '[INFO] at work'\necho '[ERROR] a mistake in A.java'\nexit 1\n");
        assertThat(launch(Map.of(), "doctor").status()).as("nothing is stale").isEqualTo(7);
        Files.writeString(home.resolve("rl/src/main/A.java"), "class A {}");
        Files.setLastModifiedTime(
                home.resolve("rl/src/main/A.java"), FileTime.from(Instant.now().plusSeconds(5)));
        Result result = launch(Map.of(), "doctor");
        assertThat(result.status()).isEqualTo(1);
        assertThat(result.out()).isEmpty();
        assertThat(result.err())
                .contains(
                        "[ERROR] a mistake in A.java", home.resolve("target/build.log").toString())
                .doesNotContain("[INFO]");
    }

    @Test
    void theSelfTestIsStaleWithItsTestsAndRunsWithThem() throws Exception {
        jdk("usr/lib/jvm/jdk-25", "25");
        script(tools.resolve("mvn"), "#!/bin/sh\nexit 1\n");
        assertThat(oneLine(launch(Map.of(), "selftest"))).contains("no tests");
        Files.createDirectories(home.resolve("target/app/tests"));
        assertThat(launch(Map.of(), "selftest", "--device", "cpu").out())
                .contains("/target/app/lib/*:", "/target/app/tests/* ")
                .endsWith("dev.saccade.bench.SelfTest --device cpu\n");
        Path test = home.resolve("rl/src/test/A.java");
        Files.createDirectories(test.getParent());
        Files.writeString(test, "class A {}");
        Files.setLastModifiedTime(test, FileTime.from(Instant.now().plusSeconds(5)));
        assertThat(launch(Map.of(), "doctor").status()).as("tests don't count").isEqualTo(7);
        assertThat(launch(Map.of(), "selftest").status()).as("here they do").isEqualTo(1);
    }

    @Test
    void aBundleRunsOnItsOwnRuntime() throws Exception {
        script(home.resolve("runtime/bin/java"), FAKE_JAVA);
        Result result = launch(Map.of(), "train", "a b");
        assertThat(result.out())
                .startsWith("ran " + home.resolve("runtime/bin/java") + " with ")
                .contains(" -cp " + home + "/lib/* ")
                .endsWith("dev.saccade.rl.cli.Main train a b\n");
        assertThat(launch(Map.of(), "bench", "Gemm").out())
                .endsWith("dev.saccade.bench.BenchMain Gemm\n");
        assertThat(oneLine(launch(Map.of(), "selftest"))).contains("bundle --with-tests");
        assertThat(oneLine(launch(Map.of(), "test"))).contains("needs a checkout");
        assertThat(oneLine(launch(Map.of(), "bundle"))).contains("needs a checkout");
    }

    @Test
    void aBundleIsAskedForInOneWay() throws Exception {
        jdk("usr/lib/jvm/jdk-25", "25");
        assertThat(oneLine(launch(Map.of(), "bundle", "--wiht-tests")))
                .contains("unknown option '--wiht-tests'");
        assertThat(oneLine(launch(Map.of(), "bundle", "--out"))).contains("--out needs a file");
        assertThat(oneLine(launch(Map.of(), "bundle", "--out", "no/such/folder/a.tar.xz")))
                .contains("no/such/folder is not a folder");
        assertThat(oneLine(launch(Map.of(), "bundle"))).contains("has no jlink");
        assertThat(launch(Map.of(), "bundle", "--help").out()).contains("--with-tests", "--out");
    }

    /// With this JDK and these classes: output and messages in one file stand one behind the other.
    @Test
    void outputAndMessagesShareAFile() throws Exception {
        classesInAJar(home.resolve("target/app/lib/saccade.jar"));
        Path log = temporary.resolve("log.txt");
        Result result =
                shell(
                        Map.of("JAVA_HOME", System.getProperty("java.home")),
                        List.of(
                                "bash",
                                "-c",
                                "{ \"$0\" trian; \"$0\" --version; echo end; } >\"$1\" 2>&1",
                                home.resolve("saccade").toString(),
                                log.toString()));
        assertThat(result.status()).isZero();
        assertThat(Files.readAllLines(log))
                .containsExactly(
                        "saccade: unknown command 'trian'; did you mean 'train'?;"
                                + " see 'saccade --help'",
                        "saccade development",
                        "end");
    }

    private static void classesInAJar(Path jar) throws IOException {
        Manifest manifest = new Manifest();
        manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
        manifest.getMainAttributes()
                .put(
                        Attributes.Name.CLASS_PATH,
                        Stream.of(
                                        System.getProperty("java.class.path")
                                                .split(File.pathSeparator, -1))
                                .map(entry -> Path.of(entry).toUri().toString())
                                .collect(Collectors.joining(" ")));
        try (OutputStream out = Files.newOutputStream(jar);
                JarOutputStream archive = new JarOutputStream(out, manifest)) {
            archive.finish();
        }
    }
}
