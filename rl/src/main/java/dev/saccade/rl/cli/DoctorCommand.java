package dev.saccade.rl.cli;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.CudaProperties;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.ComputeType;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import jdk.incubator.vector.FloatVector;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.json.JsonMapper;

/// What this machine has, and what Saccade will use of it.
@Command(
        name = "doctor",
        description = "Show the JDK, the processor and the devices found, and what will be used.")
final class DoctorCommand implements Callable<Integer> {
    private static final String NO_KERNELS =
            "none in this build: nvcc was not found (a CUDA toolkit has it); build again with it";

    private static final String WHY_CUDA = "a GPU can be used";
    private static final String WHY_CPU = "no GPU can be used";

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
        CudaProbe probe = CudaDevice.probe();
        String whyNot = DeviceChoice.whyNoCuda(probe);
        PrintStream out = System.out;
        if (json) {
            findings.put("cuda", cuda(probe));
            findings.put("device", whyNot == null ? "cuda:0" : "cpu");
            findings.put("dtype", type(whyNot).label());
            findings.put("why", whyNot == null ? WHY_CUDA : WHY_CPU + ": " + whyNot);
            out.println(JsonMapper.builder().build().writeValueAsString(findings));
        } else {
            findings.put("cuda", probe.usable() ? driver(probe) : "none: " + probe.reason());
            for (CudaProperties gpu : probe.devices()) {
                findings.put("cuda:" + gpu.ordinal(), describe(gpu));
            }
            findings.put("cuda_kernels", Kernels.builtForCuda() ? "in this build" : NO_KERNELS);
            findings.put(
                    "device",
                    "%s, %s: %s"
                            .formatted(
                                    whyNot == null ? "cuda:0" : "cpu",
                                    type(whyNot).label(),
                                    whyNot == null ? WHY_CUDA : WHY_CPU));
            findings.forEach((name, value) -> out.printf("%-14s %s%n", name, value));
        }
        return 0;
    }

    private static ComputeType type(@Nullable String whyNoCuda) {
        return whyNoCuda == null ? ComputeType.BFLOAT16 : ComputeType.FLOAT32;
    }

    private static String driver(CudaProbe probe) {
        return "driver for CUDA %s, through %s".formatted(version(probe), probe.binding());
    }

    private static String version(CudaProbe probe) {
        return "%d.%d".formatted(probe.driverVersion() / 1000, probe.driverVersion() % 1000 / 10);
    }

    private static String describe(CudaProperties gpu) {
        return String.format(
                Locale.ROOT,
                "%s, %.1f GiB, compute capability %d.%d",
                gpu.name(),
                gpu.memoryBytes() / (double) (1L << 30),
                gpu.computeMajor(),
                gpu.computeMinor());
    }

    private static Map<String, Object> cuda(CudaProbe probe) {
        Map<String, Object> cuda = new LinkedHashMap<>();
        cuda.put("usable", probe.usable());
        cuda.put("reason", probe.reason());
        cuda.put("driver_version", probe.driverVersion() == 0 ? null : version(probe));
        cuda.put("binding", probe.binding());
        cuda.put("kernels", Kernels.builtForCuda());
        List<Map<String, Object>> devices = new ArrayList<>();
        for (CudaProperties gpu : probe.devices()) {
            Map<String, Object> device = new LinkedHashMap<>();
            device.put("ordinal", gpu.ordinal());
            device.put("name", gpu.name());
            device.put("memory_bytes", gpu.memoryBytes());
            device.put("compute_capability", gpu.computeMajor() + "." + gpu.computeMinor());
            device.put("multiprocessors", gpu.multiprocessors());
            devices.add(device);
        }
        cuda.put("devices", devices);
        return cuda;
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
