package dev.saccade.bench;

import java.io.IOException;

/// `./saccade bench [PATTERN]`: JMH's own command line on the suites of this jar.
public final class BenchMain {
    private BenchMain() {}

    /// Runs JMH; its options work as they are (`-h` lists them).
    public static void main(String[] arguments) throws IOException {
        org.openjdk.jmh.Main.main(arguments);
    }
}
