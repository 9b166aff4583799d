package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class WorkerPoolTest {

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 5})
    void everyPartRunsOnce(int workers) {
        try (WorkerPool pool = new WorkerPool(workers)) {
            for (int parts : new int[] {0, 1, 2, 3, 7, 64, 1001}) {
                AtomicIntegerArray runs = new AtomicIntegerArray(Math.max(1, parts));
                AtomicInteger ranges = new AtomicInteger();
                pool.run(
                        parts,
                        (worker, begin, end) -> {
                            assertThat(worker).isBetween(0, workers - 1);
                            assertThat(begin).isLessThan(end);
                            ranges.incrementAndGet();
                            for (int part = begin; part < end; part++) {
                                runs.incrementAndGet(part);
                            }
                        });
                assertThat(ranges.get()).isEqualTo(Math.min(workers, parts));
                for (int part = 0; part < parts; part++) {
                    assertThat(runs.get(part)).isEqualTo(1);
                }
            }
        }
    }

    @Test
    void rangesAreContiguousAndNearlyEqual() {
        try (WorkerPool pool = new WorkerPool(3)) {
            int[][] ranges = new int[3][];
            pool.run(11, (worker, begin, end) -> ranges[worker] = new int[] {begin, end});
            assertThat(ranges[0]).containsExactly(0, 3);
            assertThat(ranges[1]).containsExactly(3, 7);
            assertThat(ranges[2]).containsExactly(7, 11);
        }
    }

    @Test
    void manyShortLoopsSeeEachOthersResults() {
        try (WorkerPool pool = new WorkerPool(2)) {
            int[] a = new int[64]; // plain memory: the end of a loop publishes it
            int[] b = new int[64];
            for (int loop = 0; loop < 10_000; loop++) {
                pool.run(
                        64,
                        (_, begin, end) -> {
                            for (int i = begin; i < end; i++) {
                                a[i] = b[63 - i] + 1;
                            }
                        });
                pool.run(
                        64,
                        (_, begin, end) -> {
                            for (int i = begin; i < end; i++) {
                                b[i] = a[63 - i];
                            }
                        });
            }
            assertThat(b).containsOnly(10_000);
        }
    }

    @Test
    void parkedWorkersWakeUp() {
        try (WorkerPool pool = new WorkerPool(2)) {
            AtomicInteger runs = new AtomicInteger();
            for (int loop = 0; loop < 20; loop++) {
                pool.run(2, (_, begin, end) -> runs.addAndGet(end - begin));
                LockSupport.parkNanos(3_000_000);
            }
            assertThat(runs.get()).isEqualTo(40);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void aPartsExceptionReachesTheCallerAndThePoolGoesOn(int thrower) {
        try (WorkerPool pool = new WorkerPool(2)) {
            AtomicInteger others = new AtomicInteger();
            assertThatThrownBy(() ->
                            pool.run(
                                    2,
                                    (worker, _, _) -> {
                                        if (worker == thrower) {
                                            throw new IllegalArgumentException("part");
                                        }
                                        others.incrementAndGet();
                                    }))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("part");
            assertThat(others.get()).isEqualTo(1);
            assertThatThrownBy(() ->
                            pool.run(
                                    2,
                                    (worker, _, _) -> {
                                        if (worker == thrower) {
                                            throw new AssertionError("error");
                                        }
                                    }))
                    .isInstanceOf(AssertionError.class);
            AtomicInteger runs = new AtomicInteger();
            pool.run(10, (_, begin, end) -> runs.addAndGet(end - begin));
            assertThat(runs.get()).isEqualTo(10);
        }
    }

    @Test
    void aLoopInsideALoopIsAnError() {
        try (WorkerPool pool = new WorkerPool(2)) {
            assertThatThrownBy(() -> pool.run(2, (_, _, _) -> pool.run(2, (_, _, _) -> {})))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("another parallel loop");
            AtomicInteger runs = new AtomicInteger();
            pool.run(4, (_, begin, end) -> runs.addAndGet(end - begin));
            assertThat(runs.get()).isEqualTo(4);
        }
    }

    @Test
    void closingEndsTheThreads() throws InterruptedException {
        WorkerPool pool = new WorkerPool(2);
        Thread[] worker = new Thread[1];
        pool.run(
                2,
                (index, _, _) -> {
                    if (index == 1) {
                        worker[0] = Thread.currentThread();
                    }
                });
        assertThat(worker[0].getName()).isEqualTo("saccade-worker-1");
        assertThat(worker[0].isDaemon()).isTrue();
        pool.close();
        pool.close();
        worker[0].join(10_000);
        assertThat(worker[0].isAlive()).isFalse();
        assertThatThrownBy(() -> pool.run(2, (_, _, _) -> {}))
                .isInstanceOf(IllegalStateException.class);
    }
}
