package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.attention.Attention.Sequences;
import org.junit.jupiter.api.Test;

class TileListTest {
    private static int[] tiles(TileList.Side side, boolean causal) {
        Sequences sequences = Sequences.packed(new int[] {0, 300, 428, 428, 438});
        return TileList.tiles(new TileList.Key(sequences, side, 128, 1, causal));
    }

    @Test
    void theLastTileOfRowsHoldsWhatIsLeft() {
        assertThat(tiles(TileList.Side.ROWS, true))
                .containsExactly(
                        0, 300, 0, 300, 256, // 300 keys
                        0, 300, 0, 300, 128, // 256
                        0, 300, 0, 300, 0, // 128
                        300, 128, 300, 128, 0, // 128
                        428, 10, 428, 10, 0); // 10
    }

    @Test
    void theFirstTileOfLastRowsHoldsWhatIsLeft() {
        assertThat(tiles(TileList.Side.LAST_ROWS, true))
                .containsExactly(
                        0, 300, 0, 300, 172, // 300 keys
                        0, 300, 0, 300, 44, // 172
                        300, 128, 300, 128, 0, // 128
                        0, 300, 0, 300, -84, // 44
                        428, 10, 428, 10, -118); // 10
    }

    @Test
    void withoutAMaskTilesOfASequenceStayTogether() {
        assertThat(tiles(TileList.Side.LAST_ROWS, false))
                .containsExactly(
                        0, 300, 0, 300, -84, // 300 keys
                        0, 300, 0, 300, 44, // 300
                        0, 300, 0, 300, 172, // 300
                        300, 128, 300, 128, 0, // 128
                        428, 10, 428, 10, -118); // 10
    }
}
