package dev.saccade.model.generate;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.model.NormType;
import dev.saccade.model.Prompt;
import dev.saccade.model.SmallModels;
import dev.saccade.model.VisionLanguageConfig;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CachePlanTest {
    private final VisionLanguageConfig config = SmallModels.config(NormType.LAYER_NORM);

    private Prompt prompt(int length) {
        return SmallModels.prompt(config, length, 0, new Random(1));
    }

    @Test
    void requestsOfAPromptShareItsWholePages() {
        CachePlan plan = new CachePlan(40);
        Prompt prompt = prompt(150);
        Request first = new Request(prompt, 1);
        Request alone = new Request(prompt(10), 2);
        assertThat(plan.pagesFor(first)).isEqualTo(3);
        plan.add(first);
        plan.add(alone);
        assertThat(plan.pagesFor(first)).isEqualTo(1);
        plan.add(new Request(prompt, 3));
        plan.add(new Request(prompt, 4));
        assertThat(plan.pages()).isEqualTo(6);
        assertThat(plan.table(0)).containsExactly(0, 1, 2);
        assertThat(plan.table(1)).containsExactly(3);
        assertThat(plan.table(2)).containsExactly(0, 1, 4);
        assertThat(plan.table(3)).containsExactly(0, 1, 5);
        assertThat(plan.owner(1)).isEqualTo(1);
        assertThat(plan.owner(3)).isZero();
        assertThat(plan.sharedPages(3)).isEqualTo(2);
        assertThat(plan.row(0, 150)).isEqualTo(150);
        assertThat(plan.row(1, 10)).isEqualTo(3 * 64 + 10);
        assertThat(plan.row(2, 150)).isEqualTo(4 * 64 + 150 - 128);
    }

    /// A prompt that ends with its page leaves nothing to copy, and one of less than a page nothing
    /// to share.
    @Test
    void promptsOfWholePagesAndOfLessThanOne() {
        CachePlan plan = new CachePlan(1);
        Prompt whole = prompt(128);
        Prompt small = prompt(63);
        for (int i = 0; i < 2; i++) {
            plan.add(new Request(whole, i));
            plan.add(new Request(small, i));
        }
        assertThat(plan.table(0)).containsExactly(0, 1, 2);
        assertThat(plan.table(2)).containsExactly(0, 1, 4);
        assertThat(plan.row(2, 128)).isEqualTo(4 * 64);
        assertThat(plan.sharedPages(3)).isZero();
        assertThat(plan.table(3)).containsExactly(5);
        assertThat(plan.row(3, 63)).isEqualTo(5 * 64 + 63);
    }
}
