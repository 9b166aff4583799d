package dev.saccade.rl.cli;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import jdk.incubator.vector.FloatVector;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.json.JsonMapper;

/// What this machine has, and what Saccade will use of it.
@Command(
        name = "doctor",
        description = "Show the JDK, the processor and the devices found, and what will be used.")
final class DoctorCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Option(names = "--json", description = "Print JSON.")
    boolean json;

    @Override
    public Integer call() {
        Map<String, Object> findings = new LinkedHashMap<>();
        findings.put("saccade", Version.current());
        findings.put("java", Runtime.version() + " (" + System.getProperty("java.vendor") + ")");
        findings.put("java_home", System.getProperty("java.home"));
        findings.put("system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
        findings.put("processor", processor());
        findings.put("processors", Runtime.getRuntime().availableProcessors());
        findings.put("heap_mib", Runtime.getRuntime().maxMemory() >> 20);
        findings.put("vector_bits", FloatVector.SPECIES_PREFERRED.vectorBitSize());
        findings.put("device", "cpu (the only device of this version)");
        PrintStream out = System.out;
        if (json) {
            out.println(JsonMapper.builder().build().writeValueAsString(findings));
        } else {
            findings.forEach((name, value) -> out.printf("%-14s %s%n", name, value));
        }
        return 0;
    }

    private static String processor() {
        try (java.util.stream.Stream<String> lines =
                Files.lines(Path.of("/proc/cpuinfo"), StandardCharsets.UTF_8)) {
            return lines.filter(line -> line.startsWith("model name"))
                    .map(line -> line.substring(line.indexOf(':') + 1).strip())
                    .findFirst()
                    .orElse("unknown");
        } catch (IOException e) {
            return "unknown";
        }
    }
}
