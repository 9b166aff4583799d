package dev.saccade.model.tokenizer;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import tools.jackson.databind.json.JsonMapper;

/// Makes the tokenizer of a tiny model, in the same file format as a large one's: the 256 bytes (id
/// = byte), then special tokens, then whole words. Nothing is merged, so a text without these words
/// is one token per byte; a word is one token wherever it stands, the longest word first.
public final class TinyVocabulary {
    /// The tokens that are control, in the order of their ids from 256 on.
    public static final List<String> SPECIAL_TOKENS =
            List.of(
                    "<|endoftext|>",
                    "<|im_start|>",
                    "<|im_end|>",
                    "<img>",
                    "</img>",
                    "<IMG_CONTEXT>");

    /// The marks around a model's thinking: one token each, but text, as in Qwen3, since a reward
    /// looks for them.
    public static final List<String> THINKING_TOKENS = List.of("<think>", "</think>");

    private TinyVocabulary() {}

    /// Makes the tokenizer.
    ///
    /// @param words texts to be one token each; repeated ones count once
    public static Tokenizer tokenizer(List<String> words) {
        Map<String, Object> vocabulary = new LinkedHashMap<>();
        for (int value = 0; value < 256; value++) {
            vocabulary.put(String.valueOf(ByteLevel.character(value)), value);
        }
        Set<String> contents = new LinkedHashSet<>(SPECIAL_TOKENS);
        contents.addAll(THINKING_TOKENS);
        contents.addAll(words);
        List<Map<String, Object>> added = new ArrayList<>();
        for (String content : contents) {
            Map<String, Object> token = new LinkedHashMap<>();
            token.put("id", vocabulary.size() + added.size());
            token.put("content", content);
            token.put("single_word", false);
            token.put("lstrip", false);
            token.put("rstrip", false);
            token.put("normalized", false);
            token.put("special", SPECIAL_TOKENS.contains(content));
            added.add(token);
        }

        Map<String, Object> model = new LinkedHashMap<>();
        model.put("type", "BPE");
        model.put("dropout", null);
        model.put("unk_token", null);
        model.put("continuing_subword_prefix", null);
        model.put("end_of_word_suffix", null);
        model.put("fuse_unk", false);
        model.put("byte_fallback", false);
        model.put("vocab", vocabulary);
        model.put("merges", List.of());

        Map<String, Object> root = new LinkedHashMap<>();
        root.put("version", "1.0");
        root.put("truncation", null);
        root.put("padding", null);
        root.put("added_tokens", added);
        root.put("normalizer", null);
        root.put("pre_tokenizer", byteLevel());
        root.put("post_processor", null);
        root.put("decoder", byteLevel());
        root.put("model", model);
        String json = JsonMapper.shared().writerWithDefaultPrettyPrinter().writeValueAsString(root);
        return Tokenizer.parse(json + "\n", "the tiny vocabulary");
    }

    private static Map<String, Object> byteLevel() {
        Map<String, Object> step = new LinkedHashMap<>();
        step.put("type", "ByteLevel");
        step.put("add_prefix_space", false);
        step.put("trim_offsets", false);
        step.put("use_regex", false);
        return step;
    }
}
