package dev.saccade.bench;

import dev.saccade.engine.OutOfDeviceMemoryException;
import dev.saccade.kernels.DType;
import java.util.List;

/// What a device reaches at best, measured by the process that measures the rest.
///
/// @param flops arithmetic operations a second of a bf16 product of 8192^3, the fastest that ours
///   or a peer was; 0 where it was not measured
/// @param by whose that is; empty where it was not measured
/// @param bytes bytes a second that a copy of 1 GiB on the device moves, read and written; 0 where
///   it was not measured
record Peaks(double flops, String by, double bytes) {
    /// Where nothing was measured.
    static final Peaks NONE = new Peaks(0, "", 0);

    private static final String PRODUCT = "peak op=gemm dtype=bf16 layout=NT m=8192 n=8192 k=8192";
    private static final String COPY = "copy op=copy bytes=1073741824";

    /// Measures both: about a second of products, in turns of ours and the peers, of whose medians
    /// over some turns the best counts; and as many seconds of copies as a case takes.
    static Peaks measure(Workbench bench, Race race, double seconds) {
        if (!bench.isCuda()) {
            return NONE;
        }
        Peaks products = products(bench, race);
        return new Peaks(products.flops, products.by, copy(bench, race, seconds));
    }

    private static Peaks products(Workbench bench, Race race) {
        try {
            PreparedCase prepared = Cases.prepare(Case.parse(PRODUCT), bench);
            Entrants entrants = Entrants.of(prepared, bench);
            Peaks best = NONE;
            long end = System.nanoTime() + 1_000_000_000L;
            while (System.nanoTime() < end) {
                List<Race.Times> times =
                        race.run(entrants.racers(), prepared.clock(), prepared.sets(), 0.1);
                for (int i = 0; i < times.size(); i++) {
                    double rate = prepared.flops() / (times.get(i).median() * 1e-6);
                    if (rate > best.flops) {
                        best = new Peaks(rate, entrants.racers().get(i).name(), 0);
                    }
                }
            }
            return best;
        } catch (IllegalStateException | OutOfDeviceMemoryException _) {
            // The case of the list that is this product says why.
            return NONE;
        } finally {
            bench.clear();
        }
    }

    private static double copy(Workbench bench, Race race, double seconds) {
        try {
            PreparedCase copy = Cases.prepare(Case.parse(COPY), bench);
            Race.Entrant entrant = new Race.Entrant("copy", copy.run());
            Race.Times times =
                    race.run(List.of(entrant), copy.clock(), copy.sets(), seconds).getFirst();
            return copy.bytes() / (times.median() * 1e-6);
        } finally {
            bench.clear();
        }
    }

    /// Those that a case can be compared with: the product's only where its products are of bf16,
    /// because fp32 ones are no tensor cores' work.
    Peaks of(Case work) {
        return work.dtype() == DType.BF16 ? this : new Peaks(0, "", bytes);
    }

    /// In words; empty where nothing was measured.
    String text() {
        return bytes == 0
                ? ""
                : "bf16 product of 8192^3 %s TFLOP/s (%s), copy of 1 GiB %s GB/s"
                        .formatted(
                                TableText.number(flops * 1e-12),
                                by,
                                TableText.number(bytes * 1e-9));
    }
}
