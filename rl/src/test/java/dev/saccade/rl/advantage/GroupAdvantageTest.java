package dev.saccade.rl.advantage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

final class GroupAdvantageTest {
    private static final Offset<Double> EXACT = within(1e-12);

    @Test
    void dividesByTheUnbiasedStandardDeviation() {
        // mean 0.5, squares 4 * 0.25, over n - 1 = 3: std = sqrt(1/3)
        double[] advantages =
                GroupAdvantage.compute(new double[] {1, 0, 0, 1, 3, 1, 2, 2}, 4, true);
        double first = 0.5 / (Math.sqrt(1.0 / 3) + 1e-6);
        // mean 2, squares 2, over 3
        double second = 1 / (Math.sqrt(2.0 / 3) + 1e-6);
        assertThat(advantages)
                .containsExactly(
                        new double[] {first, -first, -first, first, second, -second, 0, 0}, EXACT);
    }

    @Test
    void leavesTheScaleWithoutNormalisation() {
        assertThat(GroupAdvantage.compute(new double[] {1, 0.2, 0, 0.8}, 2, false))
                .containsExactly(new double[] {0.4, -0.4, -0.4, 0.4}, EXACT);
    }

    @Test
    void aSingleResponseKeepsItsReward() {
        assertThat(GroupAdvantage.compute(new double[] {0.8, 0.2}, 1, true))
                .containsExactly(0.8, 0.2);
    }

    @Test
    void equalRewardsAreExactlyZero() {
        for (int size = 2; size < 40; size++) {
            double[] rewards = new double[size];
            Arrays.fill(rewards, 0.1);
            assertThat(GroupAdvantage.compute(rewards, size, true)).containsOnly(0.0);
            assertThat(GroupAdvantage.compute(rewards, size, false)).containsOnly(0.0);
        }
    }

    @Test
    void anEmptyBatchIsFine() {
        assertThat(GroupAdvantage.compute(new double[0], 8, true)).isEmpty();
    }

    @Test
    void refusesBrokenGroupsAndRewards() {
        assertThatThrownBy(() -> GroupAdvantage.compute(new double[3], 2, true))
                .hasMessage("3 rewards are not groups of 2");
        assertThatThrownBy(() -> GroupAdvantage.compute(new double[3], 0, true))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> GroupAdvantage.compute(new double[] {1, Double.NaN}, 2, true))
                .hasMessage("reward 1 is NaN");
    }
}
