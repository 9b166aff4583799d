package dev.saccade.kernels.advance;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.Replay;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Tag("device")
final class AdvanceContractTest {
    private static final int COUNT = 1025;

    private static int[] numbers(int count) {
        int[] numbers = new int[count];
        Arrays.setAll(numbers, i -> 7 * i - 3);
        return numbers;
    }

    @ParameterizedTest
    @EnumSource
    void eachCounterMovesOnByOneAndWhatIsBesideThemStays(Target target) {
        try (Buffers buffers = target.open()) {
            int[] before = numbers(COUNT);
            Span all = buffers.of(before);
            Advance.on(buffers.device()).advance(COUNT - 2, all.slice(1, COUNT - 1));
            int[] after = buffers.ints(all);
            for (int i = 0; i < COUNT; i++) {
                boolean counts = i > 0 && i < COUNT - 1;
                assertThat(after[i]).isEqualTo(before[i] + (counts ? 1 : 0));
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRecordedStepMovesOnEachTimeItRuns(Target target) {
        try (Buffers buffers = target.open()) {
            Span counters = buffers.of(numbers(5));
            Advance advance = Advance.on(buffers.device());
            try (Replay step = buffers.device().record(() -> advance.advance(5, counters))) {
                for (int run = 0; run < 3; run++) {
                    step.run();
                }
            }
            assertThat(buffers.ints(counters)).containsExactly(0, 7, 14, 21, 28);
        }
    }

    @ParameterizedTest
    @EnumSource
    void noCountersAreLeftAloneAndOtherTypesRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Advance advance = Advance.on(buffers.device());
            Span counters = buffers.of(numbers(2));
            advance.advance(0, counters);
            assertThat(buffers.ints(counters)).containsExactly(-3, 4);
            assertThatThrownBy(() -> advance.advance(1, buffers.of(1f)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("counters is F32, expected I32");
        }
    }
}
