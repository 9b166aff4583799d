package dev.saccade.rl.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.rl.task.Handwriting.Split;
import org.junit.jupiter.api.Test;

final class HandwritingTest {
    private final Handwriting handwriting = Handwriting.read();

    @Test
    void everyDigitIsSplitNineToOne() {
        int all = 0;
        for (int digit = 0; digit < 10; digit++) {
            int train = handwriting.count(Split.TRAIN, digit);
            int test = handwriting.count(Split.TEST, digit);
            int validation = handwriting.count(Split.VALIDATION, digit);
            int total = train + test + validation;
            assertThat(test + validation).isEqualTo(total / 10);
            assertThat((double) test / (test + validation)).isCloseTo(0.75, within(0.02));
            all += total;
        }
        assertThat(all).isEqualTo(10_000);
        assertThat(handwriting.count(Split.TRAIN, 1)).isEqualTo(1127 - 112);
    }

    @Test
    void imagesAreInkOnPaper() {
        for (int digit = 0; digit < 10; digit++) {
            int darkest = 0;
            long ink = 0;
            int corner = 0;
            int count = handwriting.count(Split.TEST, digit);
            for (int index = 0; index < count; index++) {
                for (int y = 0; y < Handwriting.SIZE; y++) {
                    for (int x = 0; x < Handwriting.SIZE; x++) {
                        int value = handwriting.ink(Split.TEST, digit, index, x, y);
                        darkest = Math.max(darkest, value);
                        ink += value;
                    }
                }
                corner += handwriting.ink(Split.TEST, digit, index, 0, 0);
            }
            assertThat(darkest).isGreaterThan(250);
            assertThat(corner).isZero();
            // A tenth to a quarter of a cell is ink.
            assertThat(ink / 255.0 / count / 784).isBetween(0.05, 0.25);
        }
    }

    /// A nearest-mean classifier tells the digits apart far above chance, so labels belong to their
    /// images and held-out ones look like the others.
    @Test
    void labelsBelongToTheirImages() {
        double[][] means = new double[10][784];
        for (int digit = 0; digit < 10; digit++) {
            int count = handwriting.count(Split.TRAIN, digit);
            for (int index = 0; index < count; index++) {
                for (int i = 0; i < 784; i++) {
                    means[digit][i] +=
                            handwriting.ink(Split.TRAIN, digit, index, i % 28, i / 28)
                                    / (double) count;
                }
            }
        }
        int right = 0;
        int all = 0;
        for (int digit = 0; digit < 10; digit++) {
            for (int index = 0; index < handwriting.count(Split.TEST, digit); index++) {
                int nearest = -1;
                double least = Double.MAX_VALUE;
                for (int candidate = 0; candidate < 10; candidate++) {
                    double distance = 0;
                    for (int i = 0; i < 784; i++) {
                        double difference =
                                means[candidate][i]
                                        - handwriting.ink(Split.TEST, digit, index, i % 28, i / 28);
                        distance += difference * difference;
                    }
                    if (distance < least) {
                        least = distance;
                        nearest = candidate;
                    }
                }
                right += nearest == digit ? 1 : 0;
                all++;
            }
        }
        assertThat((double) right / all).isGreaterThan(0.75);
    }
}
