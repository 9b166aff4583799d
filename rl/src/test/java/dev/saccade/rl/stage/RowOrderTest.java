package dev.saccade.rl.stage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.run.SmallRun;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class RowOrderTest {
    @TempDir Path folder;

    @BeforeEach
    void write() {
        SmallRun.recipe(folder);
    }

    private DataSet data() {
        return DataSet.read(folder.resolve("rl.jsonl"));
    }

    @Test
    void everyEpochVisitsEachRowOnceThoughBatchesCrossEpochs() {
        DataSet data = data();
        RowOrder order = new RowOrder(data, 5, 0, 5);
        List<Row> visited = new ArrayList<>();
        for (int step = 0; step < 12; step++) {
            visited.addAll(order.batch(step));
        }
        int size = data.size();
        for (int epoch = 0; epoch < 60 / size; epoch++) {
            assertThat(new HashSet<>(visited.subList(epoch * size, (epoch + 1) * size)))
                    .hasSize(size);
        }
    }

    @Test
    void aBatchDependsOnSeedStageAndStepAlone() {
        DataSet data = data();
        RowOrder order = new RowOrder(data, 5, 0, 5);
        order.batch(0);
        assertThat(order.batch(4)).isEqualTo(new RowOrder(data, 5, 0, 5).batch(4));
        assertThat(order.batch(4)).isNotEqualTo(new RowOrder(data, 6, 0, 5).batch(4));
        assertThat(order.batch(4)).isNotEqualTo(new RowOrder(data, 5, 1, 5).batch(4));
    }

    @Test
    void aBatchMayBeLargerThanTheData() {
        assertThat(new RowOrder(data(), 5, 0, 30).batch(1)).hasSize(30);
    }
}
