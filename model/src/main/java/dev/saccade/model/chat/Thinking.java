package dev.saccade.model.chat;

/// How a model is made to think (Skywork-R1V3 report, section 6.2).
public enum Thinking {
    /// The assistant's turn begins with `<think>`: reasoning first, then the answer.
    SLOW,
    /// The turn begins with nothing: the answer at once.
    NONE,
    /// As slow thinking, but the words that open another round of it ("Wait", "Alternatively",
    /// "Hmm") can't be generated (NoWait, 2506.08343).
    NOWAIT
}
