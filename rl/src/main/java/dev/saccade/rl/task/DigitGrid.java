package dev.saccade.rl.task;

import dev.saccade.rl.data.KeyedRandom;
import java.util.ArrayList;
import java.util.List;

/// A picture's content: two by two cells, row by row, each a digit or empty.
///
/// @param cells four numbers, 0..9 or [#EMPTY]
record DigitGrid(List<Integer> cells) {
    static final int EMPTY = -1;

    /// Cells beside and above each other.
    static final int SIDE = 2;

    /// Width and height of the picture.
    static final int PIXELS = SIDE * Handwriting.SIZE;

    private static final int FEWEST_DIGITS = 2;
    private static final int FARTHEST_SHIFT = 3;

    /// Two to four random digits in random cells.
    static DigitGrid draw(KeyedRandom random) {
        int cellCount = SIDE * SIDE;
        int filled = FEWEST_DIGITS + random.nextInt(cellCount - FEWEST_DIGITS + 1);
        List<Integer> cells = new ArrayList<>();
        int left = filled;
        for (int cell = 0; cell < cellCount; cell++) {
            // Each choice of cells is equally likely.
            boolean fill = random.nextInt(cellCount - cell) < left;
            cells.add(fill ? random.nextInt(10) : EMPTY);
            left -= fill ? 1 : 0;
        }
        return new DigitGrid(List.copyOf(cells));
    }

    /// The digits without the empty cells.
    List<Integer> digits() {
        return cells.stream().filter(cell -> cell != EMPTY).toList();
    }

    /// The cells as a trace writes them, `_` for an empty one: `4_5_`.
    String reading() {
        StringBuilder text = new StringBuilder();
        for (int cell : cells) {
            text.append(cell == EMPTY ? "_" : cell);
        }
        return text.toString();
    }

    /// The same with one digit taken for another.
    DigitGrid misread(KeyedRandom random) {
        List<Integer> filled = filledCells();
        int cell = filled.get(random.nextInt(filled.size()));
        List<Integer> other = new ArrayList<>(cells);
        other.set(cell, (cells.get(cell) + 1 + random.nextInt(9)) % 10);
        return new DigitGrid(List.copyOf(other));
    }

    /// The places of the digits, 0..3.
    List<Integer> filledCells() {
        List<Integer> filled = new ArrayList<>();
        for (int cell = 0; cell < cells.size(); cell++) {
            if (cells.get(cell) != EMPTY) {
                filled.add(cell);
            }
        }
        return filled;
    }

    /// The picture, [PIXELS, PIXELS] grey: each digit in a random hand, moved a little.
    byte[] paint(Handwriting handwriting, Handwriting.Split split, KeyedRandom random) {
        byte[] pixels = new byte[PIXELS * PIXELS];
        for (int cell : filledCells()) {
            int digit = cells.get(cell);
            int image = random.nextInt(handwriting.count(split, digit));
            int shiftX = random.nextInt(2 * FARTHEST_SHIFT + 1) - FARTHEST_SHIFT;
            int shiftY = random.nextInt(2 * FARTHEST_SHIFT + 1) - FARTHEST_SHIFT;
            int left = cell % SIDE * Handwriting.SIZE;
            int top = cell / SIDE * Handwriting.SIZE;
            for (int y = 0; y < Handwriting.SIZE; y++) {
                for (int x = 0; x < Handwriting.SIZE; x++) {
                    int fromX = x - shiftX;
                    int fromY = y - shiftY;
                    if (isInCell(fromX) && isInCell(fromY)) {
                        pixels[(top + y) * PIXELS + left + x] =
                                (byte) handwriting.ink(split, digit, image, fromX, fromY);
                    }
                }
            }
        }
        return pixels;
    }

    private static boolean isInCell(int coordinate) {
        return coordinate >= 0 && coordinate < Handwriting.SIZE;
    }
}
