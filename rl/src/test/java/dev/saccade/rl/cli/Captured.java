package dev.saccade.rl.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/// A command that ran in this process, with what it printed.
record Captured(int status, String out, String err) {

    /// Runs a command line.
    static Captured run(String... arguments) {
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream newOut = new ByteArrayOutputStream();
        ByteArrayOutputStream newErr = new ByteArrayOutputStream();
        try {
            System.setOut(new PrintStream(newOut, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(newErr, true, StandardCharsets.UTF_8));
            int status = Main.execute(List.of(arguments));
            return new Captured(
                    status,
                    newOut.toString(StandardCharsets.UTF_8),
                    newErr.toString(StandardCharsets.UTF_8));
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
    }

    /// Requires that all it said is one line, for bad input, of these parts.
    void isBadInput(String... parts) {
        assertThat(err.lines()).as(err).hasSize(1);
        isBadInputAtLast(parts);
    }

    /// As [#isBadInput], of a command that showed its progress before.
    void isBadInputAtLast(String... parts) {
        assertThat(status).as(err).isEqualTo(2);
        assertThat(out).isEmpty();
        assertThat(err.lines()).filteredOn(line -> line.startsWith("saccade: ")).hasSize(1);
        String last = err.lines().toList().getLast();
        assertThat(last).startsWith("saccade: ").contains(";").contains(parts);
        assertThat(err).doesNotContain("Exception");
    }

    /// Requires that it did what was asked.
    String succeeds() {
        assertThat(status).as(err).isZero();
        return out;
    }
}
