package dev.saccade.rl.task;

import dev.saccade.rl.data.KeyedRandom;
import java.util.Collections;
import java.util.List;
import java.util.Locale;

/// What can be asked about a picture of digits.
public enum Subject {
    /// `What is the sum?`, worked out step by step: `4+5=9+3=12.`
    SUM {
        @Override
        Question ask(DigitGrid grid, KeyedRandom random) {
            StringBuilder work = new StringBuilder();
            int sum = 0;
            boolean first = true;
            for (int digit : grid.digits()) {
                sum += digit;
                work.append(first ? "" : "+").append(digit);
                if (!first) {
                    work.append('=').append(sum);
                }
                first = false;
            }
            String text = random.nextInt(2) == 0 ? "What is the sum?" : "What is the total?";
            return new Question(
                    dataSource(), text, work.append('.').toString(), String.valueOf(sum));
        }
    },

    /// `Which digit is largest?`: `Largest 5.`
    COMPARE {
        @Override
        Question ask(DigitGrid grid, KeyedRandom random) {
            boolean largest = random.nextInt(2) == 0;
            int answer = largest ? Collections.max(grid.digits()) : Collections.min(grid.digits());
            return new Question(
                    dataSource(),
                    "Which digit is %s?".formatted(largest ? "largest" : "smallest"),
                    "%s %d.".formatted(largest ? "Largest" : "Smallest", answer),
                    String.valueOf(answer));
        }
    },

    /// `How many even digits?`: `Even 4 6.` or `Even none.`; the answer is how many.
    COUNT {
        @Override
        Question ask(DigitGrid grid, KeyedRandom random) {
            int remainder = random.nextInt(2);
            List<String> chosen =
                    grid.digits().stream()
                            .filter(digit -> digit % 2 == remainder)
                            .map(String::valueOf)
                            .toList();
            return new Question(
                    dataSource(),
                    "How many %s digits?".formatted(remainder == 0 ? "even" : "odd"),
                    "%s %s."
                            .formatted(
                                    remainder == 0 ? "Even" : "Odd",
                                    chosen.isEmpty() ? "none" : String.join(" ", chosen)),
                    String.valueOf(chosen.size()));
        }
    },

    /// `What digit is at the top left?`: `Top left 4.`
    POSITION {
        @Override
        Question ask(DigitGrid grid, KeyedRandom random) {
            List<Integer> filled = grid.filledCells();
            int cell = filled.get(random.nextInt(filled.size()));
            boolean top = cell < DigitGrid.SIDE;
            String side = cell % DigitGrid.SIDE == 0 ? "left" : "right";
            int answer = grid.cells().get(cell);
            return new Question(
                    dataSource(),
                    "What digit is at the %s %s?".formatted(top ? "top" : "bottom", side),
                    "%s %s %d.".formatted(top ? "Top" : "Bottom", side, answer),
                    String.valueOf(answer));
        }
    };

    abstract Question ask(DigitGrid grid, KeyedRandom random);

    /// The subject's `data_source`: `sum`, `compare`, `count`, `position`.
    public String dataSource() {
        return name().toLowerCase(Locale.ROOT);
    }
}
