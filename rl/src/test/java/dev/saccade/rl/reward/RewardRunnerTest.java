package dev.saccade.rl.reward;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
final class RewardRunnerTest {
    private static final Duration LONG = Duration.ofSeconds(20);
    private static final Duration SHORT = Duration.ofMillis(40);

    private static Reward reward(Function<String, Score> function) {
        return new Reward() {
            @Override
            public Score score(Sample sample) {
                return function.apply(sample.response());
            }

            @Override
            public String name() {
                return "test";
            }
        };
    }

    private static List<Sample> samples(int count) {
        List<Sample> samples = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            samples.add(new Sample("s", "", Integer.toString(i), "", Map.of()));
        }
        return samples;
    }

    private static Score one(String response) {
        return new Score(Integer.parseInt(response), 1, 1, response);
    }

    /// Waits, and can't be interrupted.
    private static void await(CountDownLatch latch) {
        boolean waiting = true;
        while (waiting) {
            try {
                latch.await();
                waiting = false;
            } catch (InterruptedException e) {
                waiting = true;
            }
        }
    }

    private static Score hang() {
        await(new CountDownLatch(1));
        return Score.ZERO;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 7})
    void scoresInOrder(int threads) {
        try (RewardRunner runner = new RewardRunner(reward(RewardRunnerTest::one), LONG, threads)) {
            List<RewardRunner.Scored> scored = runner.score(samples(200));
            for (int i = 0; i < 200; i++) {
                assertThat(scored.get(i).score().total()).isEqualTo(i);
                assertThat(scored.get(i).failure()).isNull();
            }
            assertThat(runner.score(List.of())).isEmpty();
        }
    }

    @Test
    void aRewardThatThrowsScoresZeroAndSaysWhy() {
        Reward broken =
                reward(response ->
                        switch (response) {
                            case "1" -> throw new IllegalStateException("no parser");
                            case "2" -> recurse(response);
                            case "3" -> new Score(Double.NaN, 0, 0, null);
                            case "4" -> throw new IllegalStateException();
                            default -> one(response);
                        });
        try (RewardRunner runner = new RewardRunner(broken, LONG, 2)) {
            List<RewardRunner.Scored> scored = runner.score(samples(6));
            assertThat(scored)
                    .extracting(RewardRunner.Scored::failure)
                    .containsExactly(
                            null,
                            "reward test threw IllegalStateException: no parser",
                            "reward test threw StackOverflowError",
                            "reward test gave a score that is not finite",
                            "reward test threw IllegalStateException",
                            null);
            assertThat(scored.get(1).score()).isEqualTo(Score.ZERO);
            assertThat(scored.get(5).score().total()).isEqualTo(5);
        }
    }

    @SuppressWarnings("InfiniteRecursion")
    private static Score recurse(String response) {
        return recurse(response + " ");
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void hangingCallsAreLeftBehind(int threads) {
        Reward sometimes =
                reward(response -> Integer.parseInt(response) % 5 == 0 ? hang() : one(response));
        try (RewardRunner runner = new RewardRunner(sometimes, SHORT, threads)) {
            long start = System.nanoTime();
            List<RewardRunner.Scored> scored = runner.score(samples(20));
            assertThat(System.nanoTime() - start).isLessThan(10_000_000_000L);
            for (int i = 0; i < 20; i++) {
                if (i % 5 == 0) {
                    assertThat(scored.get(i).score()).isEqualTo(Score.ZERO);
                    assertThat(scored.get(i).failure())
                            .isEqualTo("reward test gave no score within 0.0400 s");
                } else {
                    assertThat(scored.get(i).score().total()).isEqualTo(i);
                }
            }
        }
    }

    @Test
    void aLateResultIsNotUsed() throws InterruptedException {
        CountDownLatch release = new CountDownLatch(1);
        AtomicInteger calls = new AtomicInteger();
        Reward late =
                reward(response -> {
                    calls.incrementAndGet();
                    if (response.equals("0")) {
                        await(release);
                    }
                    return one(response);
                });
        try (RewardRunner runner = new RewardRunner(late, SHORT, 1)) {
            List<RewardRunner.Scored> scored = runner.score(samples(3));
            release.countDown();
            assertThat(scored.get(0).failure()).isNotNull();
            assertThat(scored.get(2).score().total()).isEqualTo(2);
            assertThat(calls).hasValue(3);
            assertThat(runner.score(samples(3)).get(0).failure()).isNull();
        }
    }

    @Test
    void whenVeryManyHangScoringStillEnds() {
        AtomicInteger calls = new AtomicInteger();
        Reward never =
                reward(_ -> {
                    calls.incrementAndGet();
                    return hang();
                });
        try (RewardRunner runner = new RewardRunner(never, Duration.ofMillis(5), 4)) {
            List<RewardRunner.Scored> scored = runner.score(samples(500));
            assertThat(scored).allMatch(s -> s.failure() != null);
            assertThat(calls.get()).isBetween(64, 64 + 4);
            assertThat(scored.getLast().failure()).contains("not called");
        }
    }

    @Test
    void anInterruptionIsKeptForTheCaller() {
        try (RewardRunner runner = new RewardRunner(reward(RewardRunnerTest::one), LONG, 2)) {
            Thread.currentThread().interrupt();
            assertThat(runner.score(samples(50))).hasSize(50);
            assertThat(Thread.interrupted()).isTrue();
        }
    }

    @Test
    void refusesWorkWhenClosed() {
        RewardRunner runner = new RewardRunner(reward(RewardRunnerTest::one), LONG, 2);
        runner.close();
        assertThatThrownBy(() -> runner.score(samples(1))).hasMessageContaining("closed");
        assertThatThrownBy(() -> new RewardRunner(reward(RewardRunnerTest::one), LONG, 0))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new RewardRunner(reward(RewardRunnerTest::one), Duration.ZERO, 1))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
