package dev.saccade.rl.task;

import dev.saccade.rl.data.KeyedRandom;

/// A way of thinking before the answer, as a supervised row shows it.
enum Trace {
    /// Answers without reading the digits: `Clearly 9.`
    GUESS {
        @Override
        String thinking(DigitGrid grid, Question question, KeyedRandom random) {
            return "Clearly %s.".formatted(question.answer());
        }
    },

    /// Reads, then works: `I see 4_5_. 4+5=9.`
    PLAIN {
        @Override
        String thinking(DigitGrid grid, Question question, KeyedRandom random) {
            return see(grid) + " " + question.work();
        }
    },

    /// Misreads a digit, notices, then works: `I see 4_6_. Wait, I see 4_5_. 4+5=9.`
    CORRECTED {
        @Override
        String thinking(DigitGrid grid, Question question, KeyedRandom random) {
            return see(grid.misread(random)) + " Wait, " + see(grid) + " " + question.work();
        }
    },

    /// Reads right, looks again, then works: `I see 4_5_. Wait, I see 4_5_. 4+5=9.`
    CHECKED {
        @Override
        String thinking(DigitGrid grid, Question question, KeyedRandom random) {
            return see(grid) + " Wait, " + see(grid) + " " + question.work();
        }
    };

    abstract String thinking(DigitGrid grid, Question question, KeyedRandom random);

    static String see(DigitGrid grid) {
        return "I see " + grid.reading() + ".";
    }
}
