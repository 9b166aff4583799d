package dev.saccade.bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.util.Statistics;

/// Reads a row of the table from the secondary results of a JMH suite on a device.
final class SuiteRows {
    private SuiteRows() {}

    /// The row of a case.
    ///
    /// @param name the case
    /// @param results what [DeviceProfiler] added, by label
    static TableRow row(String name, Map<String, Result<?>> results) {
        double peakFlops = 0;
        String peakBy = "";
        Map<String, Race.Times> peers = new LinkedHashMap<>();
        for (Map.Entry<String, Result<?>> entry : results.entrySet()) {
            String label = entry.getKey();
            if (label.startsWith(Measure.PEAK_FLOPS)) {
                peakFlops = entry.getValue().getScore() * 1e12;
                peakBy = label.substring(Measure.PEAK_FLOPS.length());
            } else if (label.startsWith(Measure.PEER) && label.endsWith("." + Measure.TIME)) {
                peers.put(
                        label.substring(
                                Measure.PEER.length(), label.length() - Measure.TIME.length() - 1),
                        times(entry.getValue()));
            }
        }
        Result<?> time = results.get(Measure.TIME);
        if (time == null) {
            return TableRow.empty(name, "the suite measured nothing");
        }
        List<TableRow.Other> others = new ArrayList<>();
        peers.forEach((peer, times) ->
                others.add(
                        new TableRow.Other(
                                peer, times, accuracy(results, Measure.PEER + peer + "."))));
        return new TableRow(
                name,
                1e12 * value(results, Measure.FLOPS, 0),
                1e9 * value(results, Measure.BYTES, 0),
                new Peaks(peakFlops, peakBy, 1e9 * value(results, Measure.PEAK_BYTES, 0)),
                times(time),
                accuracy(results, ""),
                others,
                "");
    }

    /// The iterations' median and quartiles.
    private static Race.Times times(Result<?> result) {
        Statistics statistics = result.getStatistics();
        return new Race.Times(
                statistics.getPercentile(50),
                statistics.getPercentile(25),
                statistics.getPercentile(75));
    }

    private static Accuracy accuracy(Map<String, Result<?>> results, String prefix) {
        return new Accuracy(
                value(results, prefix + Measure.ERROR, Double.NaN),
                value(results, prefix + Measure.ALLOWED, Double.NaN));
    }

    private static double value(Map<String, Result<?>> results, String label, double otherwise) {
        Result<?> result = results.get(label);
        return result == null ? otherwise : result.getScore();
    }
}
