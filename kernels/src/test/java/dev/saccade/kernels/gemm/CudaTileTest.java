package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.gemm.CudaTile.Form;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class CudaTileTest {
    private static final int H100 = 132;
    private static final int[] EXTENTS = {1, 7, 16, 17, 64, 65, 128, 300, 1000, 5000, 151_674};

    @ParameterizedTest
    @EnumSource
    void theTileHasAKernel(Form form) {
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            for (int aligned = 0; aligned < 2; aligned++) {
                for (int m : EXTENTS) {
                    for (int n : EXTENTS) {
                        CudaTile tile = CudaTile.choose(dtype, form, aligned == 1, m, n, H100);
                        assertThat(tile.dtype()).isEqualTo(dtype);
                        assertThat(tile.supports(form, aligned == 1))
                                .as("%s for %s of %d x %d", tile, form, m, n)
                                .isTrue();
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        // Large products: the tile that reads least for what it computes.
        "NT,true,4096,4096,BF16_128X256",
        "NN,true,8192,8192,BF16_128X256",
        "TN,true,4864,896,BF16_128X128",
        "SWI_GLU,true,4096,4864,BF16_128X256",
        // A small model: enough blocks for all multiprocessors.
        "NT,true,2000,128,BF16_64X32",
        "TN,true,128,512,BF16_64X64",
        // Decoding.
        "NT,true,1,896,BF16_16X32",
        "SWI_GLU,true,16,4864,BF16_16X32",
        "NT,true,1,151674,BF16_16X128",
        "NT,true,64,3584,BF16_64X32",
        "NT,true,64,151674,BF16_64X64",
        // Rows that don't begin on 16 bytes: the patches of an image (588), a vocabulary (151674).
        "NT,false,1025,1024,BF16_128X128_ANY",
        "NT,false,300,256,BF16_64X64_ANY",
        "NN,false,4096,4096,BF16_128X128_ANY"
    })
    void theShapeDecides(Form form, boolean aligned, int m, int n, CudaTile expected) {
        assertThat(CudaTile.choose(DType.BF16, form, aligned, m, n, H100)).isEqualTo(expected);
    }

    @ParameterizedTest
    @CsvSource({
        "4096,4096,F32_128X128",
        "2000,512,F32_64X64",
        "500,128,F32_16X64",
        "1,128,F32_16X64"
    })
    void theShapeDecidesInF32(int m, int n, CudaTile expected) {
        assertThat(CudaTile.choose(DType.F32, Form.NT, true, m, n, H100)).isEqualTo(expected);
    }

    @Test
    void blocksCoverC() {
        assertThat(CudaTile.BF16_128X256.blocks(Form.NT, 129, 256)).isEqualTo(2);
        assertThat(CudaTile.BF16_128X256.blocks(Form.SWI_GLU, 128, 129)).isEqualTo(2);
        assertThat(CudaTile.BF16_16X32.blocks(Form.NT, 0, 5)).isZero();
    }
}
