package dev.saccade.rl.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;

final class KeyedRandomTest {

    /// Fixed for good: a data set or an order of rows made by an earlier version must come out the
    /// same.
    @Test
    void theNumbersOfAKeyNeverChange() {
        KeyedRandom random = KeyedRandom.of(42, "order of rows", 0);
        assertThat(new long[] {random.nextLong(), random.nextLong(), random.nextLong()})
                .containsExactly(8809942404640011044L, -4623707970331462075L, 4595026206524680769L);
    }

    @Test
    void keysDiffer() {
        Set<Long> seen = new HashSet<>();
        for (int seed = -20; seed < 20; seed++) {
            for (int index = -20; index < 20; index++) {
                for (String purpose : new String[] {"", "a", "b", "ab"}) {
                    seen.add(KeyedRandom.of(seed, purpose, index).nextLong());
                }
            }
        }
        assertThat(seen).hasSize(40 * 40 * 4);
    }

    @Test
    void numbersAreEven() {
        KeyedRandom random = KeyedRandom.of(7, "test", 0);
        int[] counts = new int[7];
        double sum = 0;
        for (int i = 0; i < 70_000; i++) {
            counts[random.nextInt(7)]++;
            double fraction = random.nextDouble();
            assertThat(fraction >= 0 && fraction < 1).isTrue();
            sum += fraction;
        }
        for (int count : counts) {
            assertThat(count).isCloseTo(10_000, within(400)); // four standard deviations
        }
        assertThat(sum / 70_000).isCloseTo(0.5, within(0.005));
        assertThat(random.nextInt(1)).isZero();
        assertThatIllegalArgumentException().isThrownBy(() -> random.nextInt(0));
    }
}
