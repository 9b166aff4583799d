package dev.saccade.model.generate;

import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/// Variants of the tiny vocabulary.
final class TinyVocabularies {
    private TinyVocabularies() {}

    /// A tokenizer.json in which the marks of thinking are spelled in bytes.
    static String withoutThinkingTokens() {
        try {
            Path folder = Files.createTempDirectory("tokenizer");
            TinyVocabulary.tokenizer(List.of()).save(folder);
            Path file = folder.resolve(Tokenizer.FILE_NAME);
            String json = Files.readString(file);
            Files.delete(file);
            Files.delete(folder);
            return json.replace("\"<think>\"", "\"<t>\"").replace("\"</think>\"", "\"</t>\"");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
