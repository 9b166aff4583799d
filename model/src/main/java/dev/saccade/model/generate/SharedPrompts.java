package dev.saccade.model.generate;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Which rows of a decode step read their prompt together. Rows with the same prompt follow each
/// other; a group of two or more of them with a whole page in common can share it. That costs one
/// more launch for each layer and saves reading the pages once more for each further row, so the
/// step shares only where that is enough. It never shows in the bits.
///
/// @param start the first row of each group, and behind the last one the number of rows
/// @param pages for each row how many pages it reads together with its group
record SharedPrompts(int[] start, int[] pages) {
    /// Reading so many bytes costs a GPU a few launches' time.
    private static final long CUDA_LEAST_BYTES = 16L << 20;

    /// Groups the rows of a step.
    ///
    /// @param owners for each row a number that rows of the same prompt have in common
    /// @param wholePages for each row the pages that all rows of its prompt have
    /// @param bytesPerPage keys and values of a page in one layer
    /// @param leastBytes sharing has to save at least this much reading in each layer
    /// @return null where rows had better go on their own
    static @Nullable SharedPrompts of(
            int[] owners, int[] wholePages, long bytesPerPage, long leastBytes) {
        int rows = owners.length;
        int[] start = new int[rows + 1];
        int[] pages = new int[rows];
        int groups = 0;
        long saved = 0;
        for (int first = 0; first < rows; ) {
            int end = first + 1;
            while (end < rows && owners[end] == owners[first]) {
                end++;
            }
            if (end - first > 1) {
                Arrays.fill(pages, first, end, wholePages[first]);
                saved += (end - first - 1L) * wholePages[first] * bytesPerPage;
            }
            start[groups++] = first;
            first = end;
        }
        start[groups] = rows;
        boolean pays = saved > 0 && saved >= leastBytes;
        return pays ? new SharedPrompts(Arrays.copyOf(start, groups + 1), pages) : null;
    }

    /// What sharing has to save on a device.
    static long leastBytes(Device device) {
        return switch (device) {
            case HostDevice _ -> 0;
            case CudaDevice _ -> CUDA_LEAST_BYTES;
        };
    }

    /// How many groups of rows.
    int groups() {
        return start.length - 1;
    }

    /// Rows of the largest group.
    int largest() {
        int largest = 0;
        for (int group = 0; group < groups(); group++) {
            largest = Math.max(largest, start[group + 1] - start[group]);
        }
        return largest;
    }
}
