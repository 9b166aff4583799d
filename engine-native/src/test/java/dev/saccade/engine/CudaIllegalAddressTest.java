package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// A kernel that writes to no one's memory, on a real GPU: in a process of its own, since it ends
/// the use of the GPU in its process. Skipped with the reason where there is no GPU.
@Tag("device")
class CudaIllegalAddressTest {

    /// The process: what each step throws, a line each.
    static final class Victim {
        private Victim() {}

        public static void main(String[] arguments) {
            CudaDevice device = CudaDevice.open(0);
            DeviceBuffer buffer = device.allocate(4);
            Kernel kernel =
                    device.load("probe", CudaContract.probeImage()).kernel("illegal_address");
            report(() -> kernel.begin().pointer(64).launch(1, 1));
            report(() -> device.download(buffer, 0, MemorySegment.ofArray(new byte[4])));
            report(() -> device.allocate(8));
            buffer.close();
            device.close();
            System.out.println("closed");
        }

        private static void report(Runnable step) {
            try {
                step.run();
                System.out.println("fine");
            } catch (CudaException e) {
                System.out.println(e.code() + " " + e.getMessage());
            }
        }
    }

    private static List<String> linesOfVictim(boolean debug) {
        CudaProbe probe = CudaDevice.probe();
        assumeTrue(probe.usable(), () -> "no CUDA device: " + probe.reason());
        String output =
                FakeCuda.run(
                        List.of(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "--enable-native-access=ALL-UNNAMED",
                                "-Dsaccade.cuda.debug=" + debug,
                                "-cp",
                                System.getProperty("java.class.path"),
                                Victim.class.getName()));
        return output.lines().toList();
    }

    @Test
    void theErrorShowsAtTheNextWaitAndIsRepeated() {
        List<String> lines = linesOfVictim(false);
        assertThat(lines).as("%s", lines).hasSize(4);
        assertThat(lines.get(0)).isEqualTo("fine");
        assertThat(lines.get(1))
                .startsWith("700 cuda:0: ")
                .contains("CUDA_ERROR_ILLEGAL_ADDRESS", "run with -Dsaccade.cuda.debug=true");
        assertThat(lines.get(2)).startsWith("700 cuda:0 can't be used any more");
        assertThat(lines.get(3)).isEqualTo("closed");
    }

    @Test
    void debugModeNamesTheKernel() {
        List<String> lines = linesOfVictim(true);
        assertThat(lines).as("%s", lines).hasSize(4);
        assertThat(lines.get(0))
                .startsWith("700 cuda:0: ")
                .contains("kernel illegal_address (grid 1x1x1, block 1", "; arguments: 0x40");
        assertThat(lines.get(1)).startsWith("700 cuda:0 can't be used any more");
    }
}
