package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GridTest {

    @ParameterizedTest
    @CsvSource({
        "1,136,128,2",
        "1600,128,128,2",
        "129,130,65,3",
        "2000,1,588,4",
        "1,2000,588,16",
        "768,768,768,16",
        "100,100,100,7",
        "5,5,100000,64",
        "1,1,1,2"
    })
    void regionsCoverEveryElementOnce(int m, int n, int k, int workers) {
        Grid grid = Grid.of(m, n, k, 1, workers);
        assertThat(grid.regions()).isBetween(1, workers);
        int[] visits = new int[m * n];
        for (int index = 0; index < grid.regions(); index++) {
            Grid.Region region = grid.region(index);
            for (int i = 0; i < region.rows(); i++) {
                for (int j = 0; j < region.columns(); j++) {
                    visits[(region.row() + i) * n + region.column() + j]++;
                }
            }
        }
        assertThat(visits).containsOnly(1);
    }

    @Test
    void aSmallProductIsNotCut() {
        assertThat(Grid.of(8, 128, 128, 1, 64).regions()).isEqualTo(1);
    }

    @Test
    void aSingleRowIsCutAlongTheColumns() {
        Grid grid = Grid.of(1, 151_674, 896, 1, 2);
        assertThat(grid.rowCuts()).isEqualTo(1);
        assertThat(grid.columnCuts()).isEqualTo(2);
    }

    @Test
    void aTallProductIsCutAlongTheRows() {
        Grid grid = Grid.of(1600, 136, 128, 1, 2);
        assertThat(grid.rowCuts()).isEqualTo(2);
        assertThat(grid.columnCuts()).isEqualTo(1);
    }
}
