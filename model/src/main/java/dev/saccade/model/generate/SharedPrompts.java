package dev.saccade.model.generate;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Which rows of a decode step read their prompt together. Rows with the same prompt follow each
/// other; a group of two or more of them with a whole page in common can share it. That saves
/// reading the pages once more for each further row, and costs time of its own: a launch in each
/// layer, and a walk that goes page by page before the rows' own ones begin. So the step shares
/// only where it saves more than a device could read meanwhile. It never shows in the bits.
///
/// @param start the first row of each group, and behind the last one the number of rows
/// @param pages for each row how many pages it reads together with its group
record SharedPrompts(int[] start, int[] pages) {
    /// What an H100 reads in the 0.7 us that a walk takes for a page.
    private static final long CUDA_LEAST_BYTES = 2L << 20;

    /// A launch takes as long as a walk takes for so many pages.
    private static final int LAUNCH_PAGES = 4;

    /// Groups the rows of a step.
    ///
    /// @param owners for each row a number that rows of the same prompt have in common
    /// @param wholePages for each row the pages that all rows of its prompt have
    /// @param bytesPerPage keys and values of a page in one layer
    /// @param leastBytes sharing has to save at least this much reading in each layer for each page
    ///   of the longest walk
    /// @return null where rows had better go on their own
    static @Nullable SharedPrompts of(
            int[] owners, int[] wholePages, long bytesPerPage, long leastBytes) {
        int rows = owners.length;
        int[] start = new int[rows + 1];
        int[] pages = new int[rows];
        int groups = 0;
        long saved = 0;
        int longest = 0;
        for (int first = 0; first < rows; ) {
            int end = first + 1;
            while (end < rows && owners[end] == owners[first]) {
                end++;
            }
            if (end - first > 1) {
                Arrays.fill(pages, first, end, wholePages[first]);
                longest = Math.max(longest, wholePages[first]);
                saved += (end - first - 1L) * wholePages[first] * bytesPerPage;
            }
            start[groups++] = first;
            first = end;
        }
        start[groups] = rows;
        boolean pays = saved > 0 && saved / (longest + LAUNCH_PAGES) >= leastBytes;
        return pays ? new SharedPrompts(Arrays.copyOf(start, groups + 1), pages) : null;
    }

    /// What sharing has to save on a device for each page.
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
