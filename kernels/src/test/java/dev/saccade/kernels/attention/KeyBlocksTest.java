package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.KeyBlocks.Numbers;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KeyBlocksTest {
    private static Numbers numbers(
            Prefixed sequences, int heads, int kvHeads, boolean causal, int multiprocessors) {
        return KeyBlocks.numbers(
                new KeyBlocks.Key(sequences, heads, kvHeads, causal, multiprocessors));
    }

    @Test
    void aSequencesBlocksHaveTurnsInTheOrderOfItsKeys() {
        Prefixed one = KeyBlocks.plain(Sequences.packed(new int[] {0, 200}));
        Numbers numbers = numbers(one, 1, 1, true, 132);
        assertThat(numbers.items())
                .containsExactly(
                        0, 128, 0, 0, 1, // 128 keys from row 0, and the range
                        128, 72, 0, 1, 1);
        assertThat(numbers.ranges())
                .containsExactly(
                        0, 200, 0, 0, 0, // query 0 sees key 0
                        0, 200, 0, -128, 1); // query 128 the block's first
        assertThat(numbers.tiles()).containsExactly(0, 0, 64, 1, 64, 64, 2, 128, 64, 3, 192, 8);
        assertThat(numbers.keyRows()).isEqualTo(200);
    }

    @Test
    void aPromptsBlocksAreSeenByItsAnswers() {
        // A prompt of 200, an answer of 50 to it and one of 10 to its first 150 tokens.
        int[] start = {0, 200, 250};
        int[] length = {200, 50, 10};
        Prefixed group =
                new Prefixed(
                        new Sequences(start, length, start, length),
                        new int[] {0, 0, 0},
                        new int[] {0, 200, 150});
        Numbers numbers = numbers(group, 1, 1, true, 132);
        assertThat(numbers.items())
                .containsExactly(
                        0, 128, 0, 0, 3, // the prompt and both answers
                        128, 22, 0, 3, 3, //
                        150, 50, 0, 6, 2, // without the second answer
                        200, 50, 0, 8, 1, //
                        250, 10, 0, 9, 1);
        assertThat(numbers.ranges())
                .containsExactly(
                        200, 50, 4, 200, 0, // both answers, then the prompt
                        250, 10, 5, 150, 0, //
                        0, 200, 0, 0, 0, //
                        200, 50, 4, 72, 1, //
                        250, 10, 5, 22, 1, //
                        0, 200, 0, -128, 1, //
                        200, 50, 4, 50, 2, //
                        0, 200, 0, -150, 2, //
                        200, 50, 4, 0, 3, // and own keys
                        250, 10, 5, 0, 2);
    }

    @Test
    void withoutQueriesOrKeysNothingIsAddedUp() {
        Sequences sequences =
                new Sequences(
                        new int[] {0, 0, 5},
                        new int[] {0, 5, 0},
                        new int[] {0, 9, 9},
                        new int[] {9, 0, 0});
        Numbers numbers = numbers(KeyBlocks.plain(sequences), 2, 2, false, 132);
        assertThat(numbers.items()).containsExactly(0, 9, 0, 0, 0, 0, 9, 1, 0, 0);
        assertThat(numbers.ranges()).isEmpty();
        assertThat(numbers.tiles()).containsExactly(-1, 0, 5);
    }

    @Test
    void keysOfPrefixesComeFirst() {
        // An answer that lies before its prompt in memory, and a longer sequence with neither.
        Prefixed sequences =
                new Prefixed(
                        new Sequences(
                                new int[] {0, 64, 128}, new int[] {64, 64, 320},
                                new int[] {0, 64, 128}, new int[] {64, 64, 320}),
                        new int[] {64, 0, 0},
                        new int[] {64, 0, 0});
        Numbers numbers = numbers(sequences, 1, 1, true, 1);
        int[] rows = new int[numbers.itemCount()];
        Arrays.setAll(rows, item -> numbers.items()[5 * item]);
        assertThat(rows).containsExactly(128, 256, 384, 64, 0);
        assertThat(KeyBlocks.areWhole(sequences)).isTrue();
    }

    @Test
    void aPrefixMayCutAPrompt() {
        Sequences own =
                new Sequences(
                        new int[] {0, 64},
                        new int[] {64, 64},
                        new int[] {0, 64},
                        new int[] {64, 64});
        int[] none = new int[2];
        assertThat(KeyBlocks.areWhole(new Prefixed(own, none, new int[] {0, 64}))).isTrue();
        assertThat(KeyBlocks.areWhole(new Prefixed(own, none, new int[] {0, 63}))).isFalse();
        assertThat(KeyBlocks.areWhole(new Prefixed(own, new int[] {0, 1}, new int[] {0, 63})))
                .isFalse();
    }

    /// Blocks that wait for one that nobody has taken would wait for ever.
    @ParameterizedTest
    @ValueSource(ints = {1, 4, 132})
    void anItemWaitsForEarlierOnesAlone(int multiprocessors) {
        SplittableRandom random = new SplittableRandom(5);
        for (int run = 0; run < 50; run++) {
            int count = 1 + random.nextInt(12);
            int[] start = new int[count];
            int[] length = new int[count];
            int[] prefixStart = new int[count];
            int[] prefixLength = new int[count];
            int next = 0;
            for (int s = 0; s < count; s++) {
                start[s] = next;
                length[s] = random.nextInt(700);
                next += length[s];
            }
            for (int s = 0; s < count; s++) {
                prefixStart[s] = random.nextInt(next + 1);
                prefixLength[s] = random.nextInt(Math.min(next + 1 - prefixStart[s], 400));
            }
            Prefixed sequences =
                    new Prefixed(
                            new Sequences(start, length, start, length), prefixStart, prefixLength);
            Numbers numbers = numbers(sequences, 6, 3, run % 2 == 0, multiprocessors);
            Map<Long, Integer> turn = new HashMap<>();
            for (int item = 0; item < numbers.itemCount(); item++) {
                int[] at = Arrays.copyOfRange(numbers.items(), 5 * item, 5 * item + 5);
                for (int i = at[3]; i < at[3] + at[4]; i++) {
                    long chain = numbers.ranges()[5 * i + 2] * 3L + at[2];
                    assertThat(numbers.ranges()[5 * i + 4])
                            .isEqualTo(turn.merge(chain, 1, Integer::sum) - 1);
                }
            }
        }
    }

    @Test
    void blocksOfAFewHeadsTakeTurns() {
        int[] lengths = new int[41];
        Arrays.setAll(lengths, s -> 1024 * s);
        Numbers numbers = numbers(KeyBlocks.plain(Sequences.packed(lengths)), 4, 4, false, 132);
        // 8 blocks of 16 tiles each: 11 sequences' heads in turn.
        int[] firstKeys = new int[12];
        Arrays.setAll(firstKeys, item -> numbers.items()[5 * item]);
        assertThat(firstKeys)
                .containsExactly(0, 0, 0, 0, 1024, 1024, 1024, 1024, 2048, 2048, 2048, 128);
    }
}
