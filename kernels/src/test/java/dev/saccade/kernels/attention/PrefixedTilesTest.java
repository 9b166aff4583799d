package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.attention.PrefixedTiles.Numbers;
import org.junit.jupiter.api.Test;

class PrefixedTilesTest {
    /// A prompt of 200, an answer of 50 to it and one of 10 to its first 150 tokens.
    private static final Prefixed SEQUENCES =
            new Prefixed(
                    new Sequences(
                            new int[] {0, 200, 250},
                            new int[] {200, 50, 10},
                            new int[] {0, 200, 250},
                            new int[] {200, 50, 10}),
                    new int[] {0, 0, 0},
                    new int[] {0, 200, 150});

    private static final Numbers NUMBERS =
            PrefixedTiles.numbers(new PrefixedTiles.Key(SEQUENCES, 128, 96, true));

    @Test
    void queriesComeWithBothRanges() {
        assertThat(NUMBERS.queryTiles()).isEqualTo(4);
        assertThat(NUMBERS.queries())
                .containsExactly(
                        200, 50, 200, 250, 0, 0, 200, 0, // sees 250 keys
                        0, 200, 0, 200, 128, 0, 0, 0, // 200
                        250, 10, 250, 160, 0, 0, 150, 96, // 160
                        0, 200, 0, 200, 0, 0, 0, 0); // 128
    }

    @Test
    void rangesEndWhereAPrefixDoes() {
        assertThat(NUMBERS.walks())
                .containsExactly(
                        0, 200, 200, 0, // the first 150 keys: the prompt,
                        200, 50, 250, 0, // both answers
                        250, 10, 160, 0, //
                        0, 200, 200, 150, // 50 more: without the last one
                        200, 50, 250, 150, //
                        200, 50, 250, 200, // and own keys
                        250, 10, 160, 150);
        assertThat(NUMBERS.keyTiles()).isEqualTo(5);
        assertThat(NUMBERS.keys())
                .containsExactly(
                        0, 3, 0, 150, 0, // 260 queries
                        0, 3, 0, 150, 128, // 132
                        3, 2, 150, 50, 0, // 100
                        5, 1, 200, 50, 0, // 50
                        6, 1, 250, 10, 0);
        assertThat(NUMBERS.rows()).isEqualTo(260);
    }

    @Test
    void seamsHaveTheKeysAroundAPrefixsEnd() {
        int[] seams = NUMBERS.seams();
        assertThat(seams).hasSize(2 * 96);
        // Keys 192 to 287 of the first answer: 249 is its last row, again for those behind it.
        for (int key = 192; key < 288; key++) {
            assertThat(seams[key - 192]).isEqualTo(Math.min(key, 249));
        }
        // Of the second one, keys 96 to 191: 54 of the prefix, its own 10 at row 250.
        for (int key = 96; key < 192; key++) {
            assertThat(seams[96 + key - 96]).isEqualTo(key < 150 ? key : 100 + Math.min(key, 159));
        }
    }
}
