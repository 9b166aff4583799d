package dev.saccade.rl.task;

import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.nio.file.Path;
import java.util.List;

/// Makes the quick start's data set: questions about pictures of two to four real handwritten
/// digits in two by two cells.
///
/// | file | rows | handwriting |
/// |---|---|---|
/// | `pretrain.jsonl` | `I see 4_5_.`, half of them with one subject's work after it | train |
/// | `sft.jsonl` | cold start: answers of a [Mixture] of ways to think; two of five are sums | train |
/// | `rl.jsonl` | sums only, no response | train |
/// | `rl-all.jsonl` | all four subjects over the pictures of `rl.jsonl`, no response | train |
/// | `connector.jsonl` | answers that read the digits of the pictures of `rl.jsonl`, four subjects | train |
/// | `validation.jsonl`, `test.jsonl` | four subjects, no response | held out |
///
/// The rows follow [dev.saccade.rl.data.DataSet]; the pictures are grey PNG files of 56x56 under
/// `images/`. The same sizes, mixture and seed give the same bytes.
public final class DigitsTask {
    /// Texts that are one token each in the tiny model's vocabulary: the words of the questions and
    /// of the thinking, so that a sequence is short and `Wait` is one token.
    public static final List<String> WORDS =
            List.of(
                    "user",
                    "assistant",
                    "system",
                    "What",
                    "Which",
                    "How many",
                    "Read",
                    " is",
                    " the",
                    " sum",
                    " total",
                    " digit",
                    " digits",
                    " largest",
                    " smallest",
                    " even",
                    " odd",
                    " at",
                    " top",
                    " bottom",
                    " left",
                    " right",
                    "I see",
                    "Wait",
                    "Clearly",
                    "Largest",
                    "Smallest",
                    "Even",
                    "Odd",
                    "none",
                    "Top",
                    "Bottom",
                    "\\boxed{");

    private DigitsTask() {}

    /// How many rows each file gets.
    ///
    /// @param pretrain rows of `pretrain.jsonl`
    /// @param sft rows of `sft.jsonl`
    /// @param rl rows of `rl.jsonl` and of `rl-all.jsonl`
    /// @param connector rows of `connector.jsonl`
    /// @param testPerSubject rows of `test.jsonl` for each of the four subjects
    /// @param validationPerSubject rows of `validation.jsonl` for each of the four subjects
    public record Sizes(
            int pretrain,
            int sft,
            int rl,
            int connector,
            int testPerSubject,
            int validationPerSubject) {
        /// The quick start's.
        public static final Sizes QUICK = new Sizes(8000, 4000, 2000, 3000, 256, 64);

        /// For a check that everything runs.
        public static final Sizes SMOKE = new Sizes(1000, 500, 200, 200, 16, 16);

        /// Checks that every file gets a row.
        public Sizes {
            if (pretrain < 1
                    || sft < 1
                    || rl < 1
                    || connector < 1
                    || testPerSubject < 1
                    || validationPerSubject < 1) {
                throw new IllegalArgumentException("every file needs a row");
            }
        }
    }

    /// The tiny model's tokenizer: bytes, special tokens and [#WORDS].
    public static Tokenizer tokenizer() {
        return TinyVocabulary.tokenizer(WORDS);
    }

    /// Writes the data set with [Mixture#COLD_START].
    ///
    /// @return whether it was written: false if the folder has held the same set already
    public static boolean write(Path folder, Sizes sizes, long seed) {
        return write(folder, sizes, Mixture.COLD_START, seed);
    }

    /// Writes the data set. It appears whole or not at all; a complete set with the same sizes,
    /// mixture and seed is left as it is, another one that this method wrote is replaced. Anything
    /// else in the folder, a file changed by hand for instance, is kept and an
    /// [dev.saccade.engine.InputException].
    ///
    /// @param mixture of the cold start
    /// @return whether it was written: false if the folder has held the same set already
    public static boolean write(Path folder, Sizes sizes, Mixture mixture, long seed) {
        DigitsFolder target = new DigitsFolder(folder, new DigitRows(sizes, mixture, seed));
        return target.write();
    }
}
