package dev.saccade.kernels.sampling;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;

import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;

class PhiloxTest {

    /// The known answers that come with the authors' Random123 library.
    @Test
    void knownAnswers() {
        assertThat(block(0, 0, 0, 0, 0))
                .containsExactly(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
        assertThat(block(-1L, -1, -1, -1, -1))
                .containsExactly(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
        assertThat(block(0x299f31d0_a4093822L, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344))
                .containsExactly(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
    }

    private static int[] block(long key, int c0, int c1, int c2, int c3) {
        int[] words = new int[4];
        for (int i = 0; i < 4; i++) {
            words[i] = Philox.output(key, c0, c1, c2, c3, i);
        }
        return words;
    }

    @Test
    void lanesAreTheOutputsOfTheirCounters() {
        long key = Philox.key(1, 2, 3, 4, 5);
        Set<Long> places = new HashSet<>();
        for (int lane = 0; lane < 256; lane++) {
            int counter = lane / 32 * 8 + lane % 16 / 2;
            int which = lane / 16 % 2 * 2 + lane % 2;
            assertThat(Philox.word(key, 9, lane))
                    .isEqualTo(Philox.output(key, counter, 9, 0, 0, which));
            places.add(counter * 4L + which);
        }
        assertThat(places).hasSize(256).allMatch(place -> place < 256);
    }

    @Test
    void vectorNoiseIsScalarNoise() {
        float[] noise = new float[128];
        for (long key : new long[] {0, -1, 0x1234_5678_9abc_def0L}) {
            for (int position : new int[] {0, 1, 77, Integer.MAX_VALUE}) {
                for (int first : new int[] {0, 64, 151_680}) {
                    Gumbel.fill(key, position, first, noise.length, noise);
                    for (int i = 0; i < noise.length; i++) {
                        assertThat(noise[i])
                                .isEqualTo(Gumbel.noise(Philox.word(key, position, first + i)));
                    }
                }
            }
        }
    }

    @Test
    void noiseIsFiniteAtItsEndsAndMonotone() {
        assertThat(Gumbel.noise(0)).isBetween(22.8f, 22.88f);
        assertThat(Gumbel.noise(-1)).isBetween(-2.82f, -2.8f);
        // Where u nears 1 its own spacing shows; such noise loses.
        float last = Float.POSITIVE_INFINITY;
        for (long bits = 0; bits < 1L << 32; bits += 7_654_321) {
            float noise = Gumbel.noise((int) bits);
            double u = ((bits >>> 1) + 0.25) * 0x1p-31;
            double exact = -StrictMath.log(-StrictMath.log1p(-u));
            assertThat((double) noise).isCloseTo(exact, offset(exact > -1 ? 2e-6 : 0.05));
            assertThat(noise).isLessThanOrEqualTo(last);
            last = noise;
        }
    }

    @Test
    void uniformIsNeverAnEnd() {
        double sum = 0;
        double squares = 0;
        int count = 200_000;
        for (int lane = 0; lane < count; lane++) {
            float u = Philox.uniform(99, 3, lane);
            assertThat(u).isGreaterThan(0f).isLessThan(1f);
            sum += u;
            squares += (double) u * u;
        }
        double mean = sum / count;
        assertThat(Math.abs(mean - 0.5)).isLessThan(4 * Math.sqrt(1 / 12.0 / count));
        assertThat(Math.abs(squares / count - 1 / 3.0)).isLessThan(0.003);
    }

    @Test
    void gaussianHasItsMoments() {
        double[] moments = new double[5];
        int count = 100_000;
        for (long i = 0; i < count; i++) {
            double x = Philox.gaussian(5, i + (1L << 32) - 500);
            double power = 1;
            for (int k = 0; k < moments.length; k++) {
                moments[k] += power / count;
                power *= x;
            }
        }
        assertThat(Math.abs(moments[1])).isLessThan(0.013);
        assertThat(Math.abs(moments[2] - 1)).isLessThan(0.02);
        assertThat(Math.abs(moments[3])).isLessThan(0.05);
        assertThat(Math.abs(moments[4] - 3)).isLessThan(0.15);
    }

    @Test
    void everyFieldOfAKeyCounts() {
        Set<Long> keys = new HashSet<>();
        for (int seed = 0; seed < 8; seed++) {
            for (int purpose = 0; purpose < 4; purpose++) {
                for (int step = 0; step < 16; step++) {
                    for (int prompt = 0; prompt < 32; prompt++) {
                        for (int sample = 0; sample < 16; sample++) {
                            keys.add(Philox.key(seed, purpose, step, prompt, sample));
                        }
                    }
                }
            }
        }
        assertThat(keys).hasSize(8 * 4 * 16 * 32 * 16);
    }
}
