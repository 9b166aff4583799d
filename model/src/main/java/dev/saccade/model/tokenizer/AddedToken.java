package dev.saccade.model.tokenizer;

/// A token that is found in the text itself, before the pre-tokenizer and BPE.
///
/// @param id its id
/// @param content its text
/// @param singleWord it counts only where no word character touches it
/// @param lstrip it takes the white space before it
/// @param rstrip it takes the white space after it
/// @param normalized it is looked for after the normaliser, otherwise before
/// @param special it is control, not text: left out where special tokens are skipped
record AddedToken(
        int id,
        String content,
        boolean singleWord,
        boolean lstrip,
        boolean rstrip,
        boolean normalized,
        boolean special) {}
