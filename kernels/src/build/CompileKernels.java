import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Compiles the CUDA kernels: part of the Maven build, which runs this file with
/// `java CompileKernels.java SOURCES WORK OUTPUT`.
///
/// Each `SOURCES/<operation>/<file>.cu` becomes `OUTPUT/<operation>/<file>.fatbin`. A file is
/// compiled again only when it, a header that it includes, the compiler or the options have
/// changed; what it was made from is kept beside it in WORK. `OUTPUT/manifest.json` says what each
/// kernel takes. The build fails where a kernel spills registers or keeps an array in local memory,
/// or where ptxas gives up an instruction's overlap.
///
/// Without nvcc nothing is compiled, the build says so once, and the jar is for CPUs only.
/// The compiler is `$SACCADE_NVCC` (`none` for a build without kernels), or nvcc of `$CUDA_HOME`, of
/// the PATH, of /usr/local/cuda.
public final class CompileKernels {
    /// A file's images: code for Hopper, and for every other GPU PTX that its driver compiles.
    /// `hopper*.cu` uses instructions that only Hopper has.
    private static final List<String> HOPPER =
            List.of("-gencode", "arch=compute_90a,code=sm_90a");
    private static final List<String> PORTABLE =
            List.of(
                    "-gencode", "arch=compute_90a,code=sm_90a",
                    "-gencode", "arch=compute_80,code=compute_80");
    private static final List<String> OPTIONS =
            List.of("-fatbin", "-std=c++20", "-O3", "-lineinfo", "-Xptxas", "-v");

    private static final Pattern INCLUDE =
            Pattern.compile("^\\s*#\\s*include\\s+\"([^\"]+)\"", Pattern.MULTILINE);
    private static final Pattern FUNCTION =
            Pattern.compile("Compiling entry function '([^']+)' for '([^']+)'");
    private static final Pattern STACK =
            Pattern.compile(
                    "(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
    private static final Pattern USED = Pattern.compile("Used (\\d+) registers(.*)");
    private static final Pattern SHARED = Pattern.compile("(\\d+) bytes smem");
    private static final Pattern SLOW =
            Pattern.compile("C75\\d\\d|wgmma.*serialized|setmaxnreg.*ignored");

    private record Kernel(
            String name, int registers, int sharedBytes, int stackBytes, int spillBytes) {}

    private final Path sources;
    private final Path work;
    private final Path output;
    private final Path compiler;
    private final String compilerVersion;

    private CompileKernels(Path sources, Path work, Path output, Path compiler) throws IOException {
        this.sources = sources;
        this.work = work;
        this.output = output;
        this.compiler = compiler;
        this.compilerVersion = versionOf(compiler);
    }

    public static void main(String[] arguments) throws Exception {
        Path sources = Path.of(arguments[0]);
        Path work = Path.of(arguments[1]);
        Path output = Path.of(arguments[2]);
        Path compiler = findCompiler();
        if (compiler == null) {
            delete(output);
            System.out.println(
                    "nvcc was not found (SACCADE_NVCC, CUDA_HOME, PATH, /usr/local/cuda):"
                            + " this build has no CUDA kernels and runs on CPUs only");
            return;
        }
        System.exit(new CompileKernels(sources, work, output, compiler).run() ? 0 : 1);
    }

    private static Path findCompiler() {
        List<Path> candidates = new ArrayList<>();
        String named = System.getenv("SACCADE_NVCC");
        if (named != null) {
            if (named.equals("none")) {
                return null;
            }
            if (!Files.isExecutable(Path.of(named))) {
                System.err.println("SACCADE_NVCC=" + named + " is not a program");
                System.exit(1);
            }
            return Path.of(named);
        }
        String home = System.getenv("CUDA_HOME");
        if (home != null) {
            candidates.add(Path.of(home, "bin", "nvcc"));
        }
        for (String folder : System.getenv().getOrDefault("PATH", "").split(":")) {
            candidates.add(Path.of(folder, "nvcc"));
        }
        candidates.add(Path.of("/usr/local/cuda/bin/nvcc"));
        return candidates.stream().filter(Files::isExecutable).findFirst().orElse(null);
    }

    private static String versionOf(Path compiler) throws IOException {
        Process process =
                new ProcessBuilder(compiler.toString(), "--version")
                        .redirectErrorStream(true)
                        .start();
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return text.strip().lines().reduce((_, last) -> last).orElse("unknown");
    }

    private boolean run() throws Exception {
        List<Path> files;
        try (Stream<Path> found = Files.walk(sources)) {
            files = found.filter(file -> file.toString().endsWith(".cu")).sorted().toList();
        }
        Map<String, List<Kernel>> kernels = new TreeMap<>();
        List<String> faults = new ArrayList<>();
        int processors = Runtime.getRuntime().availableProcessors();
        long start = System.nanoTime();
        int compiled = 0;
        try (ExecutorService pool = Executors.newFixedThreadPool(processors)) {
            Map<Path, Future<Boolean>> jobs = new TreeMap<>();
            for (Path file : files) {
                jobs.put(file, pool.submit(() -> compile(file)));
            }
            for (Map.Entry<Path, Future<Boolean>> job : jobs.entrySet()) {
                String name = name(job.getKey());
                try {
                    compiled += job.getValue().get() ? 1 : 0;
                } catch (ExecutionException e) {
                    faults.add(name + ": " + e.getCause().getMessage());
                    continue;
                }
                kernels.put(name, resources(name, faults));
            }
        }
        if (!faults.isEmpty()) {
            faults.forEach(System.err::println);
            return false;
        }
        publish(kernels);
        if (compiled > 0) {
            System.out.printf(
                    "compiled %d of %d CUDA files in %d s (%s)%n",
                    compiled,
                    files.size(),
                    (System.nanoTime() - start) / 1_000_000_000L,
                    compilerVersion);
        }
        return true;
    }

    /// `norm/portable` for `SOURCES/norm/portable.cu`.
    private String name(Path file) {
        return sources.relativize(file).toString().replaceFirst("\\.cu$", "");
    }

    private Path made(String name, String suffix) {
        return work.resolve(name + suffix);
    }

    /// Compiles one file unless its result is there.
    ///
    /// @return whether it was compiled
    private boolean compile(Path file) throws IOException, InterruptedException {
        String name = name(file);
        boolean hopper = file.getFileName().toString().startsWith("hopper");
        List<String> options = new ArrayList<>(OPTIONS);
        options.addAll(hopper ? HOPPER : PORTABLE);
        String key = key(file, options);
        Path keyFile = made(name, ".key");
        if (Files.exists(keyFile) && Files.readString(keyFile).equals(key)) {
            return false;
        }
        Files.deleteIfExists(keyFile);
        Path kept = made(name, ".kept");
        delete(kept);
        Files.createDirectories(kept);
        List<String> command = new ArrayList<>();
        command.add(compiler.toString());
        command.addAll(options);
        command.addAll(
                List.of(
                        "-I",
                        sources.resolve("include").toString(),
                        "--keep",
                        "--keep-dir",
                        kept.toString(),
                        "-o",
                        made(name, ".fatbin").toString(),
                        file.toString()));
        Path log = made(name, ".log");
        Process process =
                new ProcessBuilder(command)
                        .redirectErrorStream(true)
                        .redirectOutput(log.toFile())
                        .start();
        int status = process.waitFor();
        String text = Files.readString(log);
        if (status != 0) {
            throw new IOException("nvcc failed:\n" + text.strip());
        }
        Files.writeString(made(name, ".hashes"), codeHashes(kept));
        delete(kept);
        Files.writeString(keyFile, key);
        return true;
    }

    /// What decides a file's result: the compiler, the options, the file and its headers.
    private String key(Path file, List<String> options) throws IOException {
        MessageDigest digest = sha256();
        digest.update(compilerVersion.getBytes(StandardCharsets.UTF_8));
        digest.update(String.join(" ", options).getBytes(StandardCharsets.UTF_8));
        Set<Path> reached = new LinkedHashSet<>();
        collect(file, reached);
        for (Path each : reached) {
            digest.update(Files.readAllBytes(each));
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private void collect(Path file, Set<Path> reached) throws IOException {
        if (!reached.add(file)) {
            return;
        }
        Matcher include = INCLUDE.matcher(Files.readString(file));
        while (include.find()) {
            Path beside = file.resolveSibling(include.group(1)).normalize();
            Path shared = sources.resolve("include").resolve(include.group(1)).normalize();
            if (Files.exists(beside)) {
                collect(beside, reached);
            } else if (Files.exists(shared)) {
                collect(shared, reached);
            }
        }
    }

    /// A line `kernel sha256` for each kernel of the compiled images: the hash of its machine code.
    private static String codeHashes(Path kept) throws IOException {
        StringBuilder lines = new StringBuilder();
        try (Stream<Path> files = Files.list(kept)) {
            for (Path cubin : files.filter(f -> f.toString().endsWith(".cubin")).sorted().toList()) {
                sections(Files.readAllBytes(cubin))
                        .forEach((kernel, hash) -> lines.append(kernel + " " + hash + "\n"));
            }
        }
        return lines.toString();
    }

    /// The hashes of an ELF file's sections `.text.<kernel>`.
    private static Map<String, String> sections(byte[] elf) {
        ByteBuffer buffer = ByteBuffer.wrap(elf).order(ByteOrder.LITTLE_ENDIAN);
        long table = buffer.getLong(0x28);
        int entryBytes = buffer.getShort(0x3a) & 0xffff;
        int count = buffer.getShort(0x3c) & 0xffff;
        int names = buffer.getShort(0x3e) & 0xffff;
        long nameTable = buffer.getLong((int) (table + (long) names * entryBytes + 0x18));
        Map<String, String> hashes = new TreeMap<>();
        for (int i = 0; i < count; i++) {
            int at = (int) (table + (long) i * entryBytes);
            int nameAt = (int) nameTable + buffer.getInt(at);
            int end = nameAt;
            while (elf[end] != 0) {
                end++;
            }
            String section = new String(elf, nameAt, end - nameAt, StandardCharsets.UTF_8);
            if (section.startsWith(".text.")) {
                MessageDigest digest = sha256();
                digest.update(
                        elf, (int) buffer.getLong(at + 0x18), (int) buffer.getLong(at + 0x20));
                hashes.put(
                        section.substring(".text.".length()),
                        HexFormat.of().formatHex(digest.digest()));
            }
        }
        return hashes;
    }

    /// What the assembler said of a file's kernels; adds a fault where a gate is not passed.
    private List<Kernel> resources(String name, List<String> faults) throws IOException {
        List<Kernel> kernels = new ArrayList<>();
        String kernel = null;
        int[] stack = new int[3];
        for (String line : Files.readAllLines(made(name, ".log"))) {
            Matcher slow = SLOW.matcher(line);
            if (slow.find()) {
                faults.add(name + ": " + line.strip());
            }
            Matcher function = FUNCTION.matcher(line);
            Matcher frame = STACK.matcher(line);
            Matcher used = USED.matcher(line);
            if (function.find()) {
                kernel = function.group(1);
            } else if (frame.find()) {
                for (int i = 0; i < stack.length; i++) {
                    stack[i] = Integer.parseInt(frame.group(i + 1));
                }
            } else if (used.find() && kernel != null) {
                Matcher shared = SHARED.matcher(used.group(2));
                int sharedBytes = shared.find() ? Integer.parseInt(shared.group(1)) : 0;
                kernels.add(
                        new Kernel(
                                kernel,
                                Integer.parseInt(used.group(1)),
                                sharedBytes,
                                stack[0],
                                stack[1] + stack[2]));
                if (stack[0] + stack[1] + stack[2] > 0) {
                    faults.add(
                            "%s: %s uses local memory: %d bytes of stack, %d of spills"
                                    .formatted(name, kernel, stack[0], stack[1] + stack[2]));
                }
                kernel = null;
            }
        }
        return kernels;
    }

    /// Puts the images and the manifest where the jar takes them from.
    private void publish(Map<String, List<Kernel>> kernels) throws IOException {
        Set<Path> current = new LinkedHashSet<>();
        StringBuilder programs = new StringBuilder();
        for (Map.Entry<String, List<Kernel>> entry : kernels.entrySet()) {
            String name = entry.getKey();
            Path image = made(name, ".fatbin");
            Path target = output.resolve(name + ".fatbin");
            Files.createDirectories(target.getParent());
            if (!Files.exists(target) || Files.mismatch(image, target) >= 0) {
                Files.copy(image, target, StandardCopyOption.REPLACE_EXISTING);
            }
            current.add(target);
            Map<String, String> hashes = new TreeMap<>();
            for (String line : Files.readAllLines(made(name, ".hashes"))) {
                String[] parts = line.split(" ");
                hashes.put(parts[0], parts[1]);
            }
            programs.append(programs.isEmpty() ? "" : ",\n");
            programs.append("    {\"name\": \"%s\", \"sha256\": \"%s\", \"kernels\": ["
                    .formatted(name, HexFormat.of().formatHex(sha256().digest(Files.readAllBytes(image)))));
            String separator = "\n";
            for (Kernel kernel : entry.getValue()) {
                programs.append(separator)
                        .append(
                                ("      {\"name\": \"%s\", \"registers\": %d, \"shared_bytes\": %d,"
                                                + " \"code_sha256\": \"%s\"}")
                                        .formatted(
                                                kernel.name(),
                                                kernel.registers(),
                                                kernel.sharedBytes(),
                                                hashes.getOrDefault(kernel.name(), "")));
                separator = ",\n";
            }
            programs.append("]}");
        }
        String manifest =
                "{\n  \"compiler\": \"%s\",\n  \"images\": [\"sm_90a\", \"compute_80\"],\n  \"programs\": [\n%s\n  ]\n}\n"
                        .formatted(compilerVersion, programs);
        Path manifestFile = output.resolve("manifest.json");
        Files.createDirectories(output);
        if (!Files.exists(manifestFile) || !Files.readString(manifestFile).equals(manifest)) {
            Files.writeString(manifestFile, manifest);
        }
        current.add(manifestFile);
        try (Stream<Path> files = Files.walk(output)) {
            for (Path old : files.filter(Files::isRegularFile).toList()) {
                if (!current.contains(old)) {
                    Files.delete(old);
                }
            }
        }
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void delete(Path folder) throws IOException {
        if (!Files.exists(folder)) {
            return;
        }
        try (Stream<Path> files = Files.walk(folder)) {
            files.sorted((a, b) -> b.compareTo(a)).forEach(CompileKernels::deleteOne);
        }
    }

    private static void deleteOne(Path file) {
        try {
            Files.delete(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
