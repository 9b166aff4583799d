package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.gemm.CudaTile.Form;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class HopperTileTest {
    private static final int H100 = 132;
    private static final int MOST_SHARED_BYTES = 232_448;
    private static final int[] EXTENTS = {1, 7, 16, 17, 64, 65, 128, 300, 1000, 5000, 151_674};

    @ParameterizedTest
    @EnumSource
    void theTileHasAKernel(Form form) {
        for (int m : EXTENTS) {
            for (int n : EXTENTS) {
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    boolean fromC = accumulate == 1 && form != Form.SWI_GLU;
                    HopperTile tile = HopperTile.choose(form, fromC, true, m, n, H100);
                    assertThat(tile.supports(form, fromC, true, m))
                            .as("%s for %s of %d x %d", tile, form, m, n)
                            .isTrue();
                    assertThat(tile.sharedBytes(form)).isBetween(1, MOST_SHARED_BYTES);
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        // Large products: the tile that reads least for what it computes.
        "NT,false,8192,8192,COLUMNS_192",
        "NN,false,8192,8192,COLUMNS_192",
        "TN,true,5120,27648,COLUMNS_192",
        "SWI_GLU,false,16384,27648,COLUMNS_160",
        // The width that leaves least idle.
        "NT,false,8192,896,COLUMNS_160",
        "NT,false,8192,1152,COLUMNS_192",
        "NT,false,2048,896,COLUMNS_112",
        // Decoding; a chain from C has no kernel for few rows.
        "NT,false,1,896,FEW_16",
        "NT,false,17,896,FEW_32",
        "SWI_GLU,false,64,27648,FEW_64",
        "NT,true,64,896,COLUMNS_128",
        "NN,false,64,896,COLUMNS_128",
        // One row of tiles: half of each cluster would idle.
        "NN,false,100,12800,ALONE_128"
    })
    void theShapeDecides(Form form, boolean fromC, int m, int n, HopperTile expected) {
        assertThat(HopperTile.choose(form, fromC, true, m, n, H100)).isEqualTo(expected);
    }
}
