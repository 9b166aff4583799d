package dev.saccade.bench;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class AttentionCasesTest {
    @Test
    void evenSequencesHaveAsManyPairs() {
        // 255 pairs, of which a sequence of 10 has 55.
        assertThat(AttentionCases.even(new int[] {20, 9}, 10, true))
                .containsExactly(10, 10, 10, 10, 7);
        assertThat(AttentionCases.even(new int[] {3, 4}, 5, false)).containsExactly(5);
        assertThat(AttentionCases.even(new int[] {1, 2}, 5, true)).containsExactly(2);
        assertThat(AttentionCases.even(new int[0], 5, true)).isEmpty();
    }
}
