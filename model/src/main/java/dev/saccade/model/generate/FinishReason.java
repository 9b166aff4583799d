package dev.saccade.model.generate;

/// Why a completion ended.
public enum FinishReason {
    /// A stop token was drawn.
    STOP,
    /// It has as many tokens as were allowed.
    LENGTH,
    /// Its [Guide] ended it.
    GUIDE
}
