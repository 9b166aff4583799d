package dev.saccade.model.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;

final class BytePairsTest {

    @Test
    void theLowestRankMergesFirst() {
        BytePairs merges = new BytePairs(2);
        merges.put(0, 1, 1, 3); // "ab", second
        merges.put(1, 2, 0, 4); // "bc", first
        int[] ids = {0, 1, 2};
        assertThat(Arrays.copyOf(ids, merges.merge(ids, 3))).containsExactly(0, 4);
    }

    @Test
    void ofEqualRanksTheLeftmostMergesFirst() {
        BytePairs merges = new BytePairs(1);
        merges.put(0, 0, 0, 1);
        int[] ids = {0, 0, 0, 0, 0};
        assertThat(Arrays.copyOf(ids, merges.merge(ids, 5))).containsExactly(1, 1, 0);
    }

    @Test
    void scanAndHeapGiveWhatTheDefinitionGives() {
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(4711);
        for (int round = 0; round < 500; round++) {
            int letters = random.nextInt(2, 5);
            int tokens = letters;
            BytePairs merges = new BytePairs(30);
            Map<List<Integer>, int[]> table = new HashMap<>();
            for (int rank = 0; rank < 30; rank++) {
                int left = random.nextInt(tokens);
                int right = random.nextInt(tokens);
                if (table.containsKey(List.of(left, right))) {
                    continue;
                }
                // Ranks out of order too: a merge of a merge may come before it.
                int shuffled = (rank * 7) % 30;
                table.put(List.of(left, right), new int[] {shuffled, tokens});
                merges.put(left, right, shuffled, tokens++);
            }
            int[] ids = random.ints(random.nextInt(2, 120), 0, letters).toArray();
            int[] byScan = ids.clone();
            int[] byHeap = ids.clone();
            int[] expected = byDefinition(ids, table);
            assertThat(Arrays.copyOf(byScan, merges.mergeByScan(byScan, byScan.length)))
                    .isEqualTo(expected);
            assertThat(Arrays.copyOf(byHeap, merges.mergeByHeap(byHeap, byHeap.length)))
                    .isEqualTo(expected);
        }
    }

    private static int[] byDefinition(int[] ids, Map<List<Integer>, int[]> table) {
        List<Integer> tokens = new ArrayList<>();
        for (int id : ids) {
            tokens.add(id);
        }
        while (true) {
            int best = -1;
            int bestRank = Integer.MAX_VALUE;
            for (int i = 0; i + 1 < tokens.size(); i++) {
                int[] merge = table.get(List.of(tokens.get(i), tokens.get(i + 1)));
                if (merge != null && merge[0] < bestRank) {
                    best = i;
                    bestRank = merge[0];
                }
            }
            if (best < 0) {
                return tokens.stream().mapToInt(Integer::intValue).toArray();
            }
            int[] merge = table.getOrDefault(List.of(tokens.get(best), tokens.get(best + 1)), ids);
            tokens.set(best, merge[1]);
            tokens.remove(/* index */ best + 1);
        }
    }
}
