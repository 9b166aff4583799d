package dev.saccade.rl.stage;

import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.rollout.Purpose;
import java.util.ArrayList;
import java.util.List;

/// The rows of each step: epochs in keyed orders, one behind the other without a gap, so that a
/// batch may end one epoch and begin the next. A batch depends on the step's number alone.
final class RowOrder {
    private final DataSet data;
    private final long key;
    private final int batchSize;
    private long cachedEpoch = -1;
    private int[] cachedOrder = new int[0];

    RowOrder(DataSet data, long seed, int stageIndex, int batchSize) {
        this.data = data;
        this.key = Purpose.ORDER.key(seed, stageIndex, 0, 0);
        this.batchSize = batchSize;
    }

    /// The rows of a step, from 0.
    List<Row> batch(int stageStep) {
        List<Row> rows = new ArrayList<>(batchSize);
        for (int i = 0; i < batchSize; i++) {
            long place = (long) stageStep * batchSize + i;
            rows.add(data.row(order(place / data.size())[(int) (place % data.size())]));
        }
        return rows;
    }

    /// The epoch of a step's last row, counted in passes over the data.
    double epochs(int stageStep) {
        return (stageStep + 1.0) * batchSize / data.size();
    }

    private int[] order(long epoch) {
        if (epoch != cachedEpoch) {
            cachedOrder = data.order(key, epoch);
            cachedEpoch = epoch;
        }
        return cachedOrder;
    }
}
