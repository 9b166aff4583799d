package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.gemm.CudaTile.Form;
import org.junit.jupiter.api.Test;
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
                    HopperTile tile = HopperTile.choose(form, fromC, true, m, n, 896, H100);
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
        "NT,false,8192,8192,8192,COLUMNS_192",
        "NN,false,8192,8192,8192,COLUMNS_192",
        "TN,true,5120,27648,8192,COLUMNS_192",
        "SWI_GLU,false,16384,27648,5120,COLUMNS_192",
        "SWI_GLU,false,8192,4864,896,COLUMNS_160",
        // The width that leaves least idle.
        "NT,false,4096,4096,4096,COLUMNS_256",
        "NT,false,16384,5120,5120,COLUMNS_160",
        "NT,false,16384,896,4864,COLUMNS_224",
        "NT,false,16384,4864,896,COLUMNS_192",
        "NT,false,2048,4864,896,COLUMNS_160",
        // As many tiles as multiprocessors: nothing to share.
        "NT,false,2048,896,896,ALONE_128",
        "NT,false,2048,896,4864,ALONE_128",
        "NT,false,2048,1536,1536,ALONE_192",
        "NN,false,100,12800,896,ALONE_128",
        // Decoding: the width that gives each multiprocessor a part; a chain from C has no kernel.
        "NT,false,1,896,4864,FEW_16_X16",
        "NT,false,17,3584,18944,FEW_32_X32",
        "NT,false,64,5120,27648,FEW_64_X64",
        "NT,false,64,27648,5120,FEW_64_X224",
        "NT,false,16,151674,3584,FEW_16_X128",
        "SWI_GLU,false,64,27648,5120,FEW_64_X112",
        "SWI_GLU,false,64,4864,896,FEW_64_X64",
        "NT,true,64,896,4864,ALONE_128"
    })
    void theShapeDecides(Form form, boolean fromC, int m, int n, int k, HopperTile expected) {
        assertThat(HopperTile.choose(form, fromC, true, m, n, k, H100)).isEqualTo(expected);
    }

    /// What `gemm/hopper.cu` and `gemm/hopper_few.cu` compute for some of their tiles.
    @Test
    void sharedMemoryIsTheKernels() {
        assertThat(HopperTile.COLUMNS_256.sharedBytes(Form.NT)).isEqualTo(231_632);
        assertThat(HopperTile.COLUMNS_192.sharedBytes(Form.NT)).isEqualTo(231_200);
        assertThat(HopperTile.COLUMNS_160.sharedBytes(Form.SWI_GLU)).isEqualTo(225_504);
        assertThat(HopperTile.FEW_16_X16.sharedBytes(Form.NT)).isEqualTo(226_736);
        assertThat(HopperTile.FEW_64_X224.sharedBytes(Form.NT)).isEqualTo(230_496);
        assertThat(HopperTile.FEW_32_X112.sharedBytes(Form.SWI_GLU)).isEqualTo(205_920);
    }
}
