package dev.saccade.rl.cli;

import dev.saccade.rl.report.Report;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/// Builds a run's report anew.
@Command(name = "report", description = "Write the report.html of a run.")
final class ReportCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Parameters(paramLabel = "RUN", description = "The run's folder.")
    Path run = Path.of("");

    @Override
    public Integer call() {
        Report.write(run);
        System.out.println(run.resolve("report.html"));
        return 0;
    }
}
