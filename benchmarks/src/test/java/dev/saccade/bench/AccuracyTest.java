package dev.saccade.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

final class AccuracyTest {

    @Test
    void itIsTheFrobeniusNormOfWhatWasCompared() {
        Accuracy.Sums sums = new Accuracy.Sums();
        sums.add("y[0]", 3.3, 3, 0.6);
        sums.add("y[1]", 4.4, 4, 0.8);
        Accuracy accuracy = sums.take();
        assertThat(accuracy.error()).isCloseTo(0.1, within(1e-12));
        assertThat(accuracy.allowed()).isCloseTo(0.2, within(1e-12));
    }

    @Test
    void theResultNearestToItsToleranceCountsHoweverSmallItIs() {
        Accuracy.Sums sums = new Accuracy.Sums();
        sums.add("dWeight[3, 4]", 1000.001, 1000, 1);
        sums.add("lse of row 7", 0.0102, 0.01, 0.0004);
        sums.add("dWeight[5, 6]", 1000.001, 1000, 1);
        Accuracy accuracy = sums.take();
        assertThat(accuracy.error()).isCloseTo(0.02, within(1e-9));
        assertThat(accuracy.allowed()).isCloseTo(0.04, within(1e-9));
    }

    @Test
    void resultsOfZerosHaveAnAbsoluteError() {
        Accuracy.Sums sums = new Accuracy.Sums();
        sums.add("y[0]", 0, 0, 1e-30);
        assertThat(sums.take()).isEqualTo(new Accuracy(0, 1e-30));
    }

    @Test
    void takingBeginsAnew() {
        Accuracy.Sums sums = new Accuracy.Sums();
        assertThat(sums.take().isKnown()).isFalse();
        sums.add("y[0]", 1, 1, 1);
        assertThat(sums.take().isKnown()).isTrue();
        assertThat(sums.take().isKnown()).isFalse();
    }
}
