package dev.saccade.bench.peer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class NativeLibrariesTest {
    private static final String SONAME = "libcublasLt.so.13";

    @Test
    void foldersMatchWithStars(@TempDir Path folder) throws IOException {
        Path wheel = folder.resolve("lib/python3.12/site-packages/nvidia/cu13/lib");
        Files.createDirectories(wheel);
        Files.createDirectories(folder.resolve("lib/python2.7/site-packages/nvidia/cu13/lib"));
        Files.writeString(folder.resolve("lib/python3"), "no folder");
        assertThat(NativeLibraries.matches(folder + "/lib/python3*/site-packages/nvidia/*/lib"))
                .containsExactly(wheel);
        assertThat(NativeLibraries.matches(folder + "/nowhere/*/lib")).isEmpty();
    }

    @Test
    void aChosenFileOrFolderIsTheOnlyCandidate(@TempDir Path folder) {
        Path file = folder.resolve(SONAME);
        assertThat(NativeLibraries.candidates(SONAME, folder.toString()))
                .containsExactly(file.toString());
        assertThat(NativeLibraries.candidates(SONAME, file.toString()))
                .containsExactly(file.toString());
        assertThat(NativeLibraries.candidates("libcublasLt.so.12", file.toString())).isEmpty();
    }

    @Test
    void theLoadersOwnSearchComesFirst() {
        assertThat(NativeLibraries.candidates(SONAME, "")).first().isEqualTo(SONAME);
    }

    @Test
    void whatIsMissingIsNamedWithACure(@TempDir Path folder) {
        assertThat(Library.open(CudnnPeer.SONAMES, folder.toString())).isNull();
        assertThat(CudnnPeer.tried())
                .startsWith("libcudnn.so.9 is not on the library path")
                .contains("-Dsaccade.cudnn=", "SACCADE_CUDNN=");
    }

    @Test
    void theHeuristicsResultIsAsLongAsTheHeaderSays() {
        assertThat(CublasLtPeer.HEURISTIC_RESULT.byteSize()).isEqualTo(96);
    }
}
