package dev.saccade.model.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashMap;
import java.util.Map;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;

final class PieceCacheTest {

    /// Far more pieces than slots: what is found must be that very piece's.
    @Test
    void whatIsFoundBelongsToThePiece() {
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(5);
        ShortPieceCache shortPieces = new ShortPieceCache();
        PieceCache pieces = new PieceCache();
        Map<String, Integer> ids = new HashMap<>();
        int found = 0;
        for (int i = 0; i < 100_000; i++) {
            int length = random.nextInt(1, 9);
            StringBuilder text = new StringBuilder("x");
            for (int j = 0; j < length; j++) {
                text.append((char) random.nextInt(1, length < 3 ? 128 : 'd'));
            }
            String piece = text.substring(1);
            int id = ids.computeIfAbsent(piece, _ -> ids.size());
            long key = ShortPieceCache.key(text.toString(), 1, text.length());
            int known = shortPieces.get(key);
            assertThat(known == -1 || known == id).isTrue();
            found += known == id ? 1 : 0;
            shortPieces.put(key, id);
            int slot = PieceCache.slot(text.toString(), 1, text.length());
            int[] longKnown = pieces.get(slot, text.toString(), 1, text.length());
            assertThat(longKnown == null || longKnown[0] == id).isTrue();
            pieces.put(slot, piece, new int[] {id});
            assertThat(shortPieces.get(key)).isEqualTo(id);
            assertThat(pieces.get(slot, text.toString(), 1, text.length())).containsExactly(id);
        }
        assertThat(found).isPositive();
    }

    @Test
    void onlyShortPiecesOfAsciiHaveANumber() {
        assertThat(ShortPieceCache.key("12345678", 0, 8)).isNotNegative();
        assertThat(ShortPieceCache.key("123456789", 0, 9)).isEqualTo(-1);
        assertThat(ShortPieceCache.key("\u0080", 0, 1)).isEqualTo(-1);
        assertThat(ShortPieceCache.key("a\u0000", 0, 2)).isEqualTo(-1);
    }
}
