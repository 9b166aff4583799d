package dev.saccade.bench;

import dev.saccade.bench.peer.Peers;
import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.CudaException;
import dev.saccade.engine.CudaProbe;
import dev.saccade.engine.InputException;
import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// `./saccade bench`: the table of a device (`--table`), the peers found here (`--peers`), what
/// bf16 does to entropies (`--entropy-precision`), and otherwise JMH's own command line on the
/// suites of this jar.
public final class BenchMain {
    private BenchMain() {}

    /// Runs what the arguments ask for; JMH's options work as they are (`-h` lists them).
    public static void main(String[] arguments) throws IOException {
        List<String> words = new ArrayList<>(Arrays.asList(arguments));
        try {
            if (words.remove("--table")) {
                System.exit(table(words, System.out));
            } else if (words.remove("--entropy-precision")) {
                System.exit(EntropyPrecision.run(words, System.out));
            } else if (words.contains("--peers")) {
                peers(System.out);
            } else {
                System.exit(Suites.run(words, System.out, System.err));
            }
        } catch (InputException e) {
            System.err.println("saccade: " + e.getMessage());
            System.exit(2);
        } catch (CudaException e) {
            System.err.println("saccade: " + e.getMessage());
            System.exit(1);
        }
    }

    private static int table(List<String> words, PrintStream out) {
        if (words.contains("--help") || words.contains("-h")) {
            out.print(DeviceTable.USAGE);
            return 0;
        }
        return DeviceTable.run(words, out);
    }

    private static void peers(PrintStream out) {
        CudaProbe probe = CudaDevice.probe();
        if (!probe.usable()) {
            out.println("none: peers run on CUDA devices, and " + probe.reason());
            return;
        }
        try (CudaDevice device = CudaDevice.open(0);
                Peers peers = Peers.open(device)) {
            peers.describe().forEach(out::println);
        }
    }
}
