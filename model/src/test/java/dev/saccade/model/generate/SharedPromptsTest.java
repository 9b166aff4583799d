package dev.saccade.model.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Objects;
import org.junit.jupiter.api.Test;

class SharedPromptsTest {
    private static final int[] OWNERS = {3, 3, 3, 0, 7, 7};
    private static final int[] WHOLE_PAGES = {4, 4, 4, 9, 1, 1};

    @Test
    void rowsOfAPromptAreAGroupAndALonelyRowSharesNothing() {
        SharedPrompts shared =
                Objects.requireNonNull(SharedPrompts.of(OWNERS, WHOLE_PAGES, 1000, 0));
        assertThat(shared.start()).containsExactly(0, 3, 4, 6);
        assertThat(shared.pages()).containsExactly(4, 4, 4, 0, 1, 1);
        assertThat(shared.groups()).isEqualTo(3);
        assertThat(shared.largest()).isEqualTo(3);
    }

    /// Two of three rows need not read 4 pages, and one of two need not read 1: 9000 bytes for a
    /// walk over 4 pages and a launch that takes as long as 4 more.
    @Test
    void rowsShareWhereThatSavesEnough() {
        assertThat(SharedPrompts.of(OWNERS, WHOLE_PAGES, 1000, 1125)).isNotNull();
        assertThat(SharedPrompts.of(OWNERS, WHOLE_PAGES, 1000, 1126)).isNull();
    }

    @Test
    void nothingToShareIsNotShared() {
        assertThat(SharedPrompts.of(new int[] {1, 2}, new int[] {5, 5}, 1000, 0)).isNull();
        assertThat(SharedPrompts.of(new int[] {1, 1}, new int[] {0, 0}, 1000, 0)).isNull();
        assertThat(SharedPrompts.of(new int[0], new int[0], 1000, 0)).isNull();
    }
}
