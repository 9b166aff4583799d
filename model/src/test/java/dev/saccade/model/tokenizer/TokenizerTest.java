package dev.saccade.model.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;

final class TokenizerTest {
    private static final Tokenizer TINY =
            TinyVocabulary.tokenizer(List.of("Wait", "I see", " digit", " digits", "\\boxed{"));

    @Test
    void aTinyVocabularyIsBytesThenSpecialTokensThenWords() {
        assertThat(TINY.size()).isEqualTo(256 + 8 + 5);
        assertThat(TINY.encode("A\n")).containsExactly('A', '\n');
        assertThat(TINY.id("<|endoftext|>")).hasValue(256);
        assertThat(TINY.id("<|im_end|>")).hasValue(258);
        assertThat(TINY.id("<IMG_CONTEXT>")).hasValue(261);
        assertThat(TINY.id("</think>")).hasValue(263);
        assertThat(TINY.id("Wait")).hasValue(264);
        assertThat(TINY.id(" ")).hasValue(' ');
        assertThat(TINY.id("no such token")).isEmpty();
        assertThat(TINY.isSpecial(258)).isTrue();
        assertThat(TINY.isSpecial(263)).isFalse();
        assertThat(TINY.isSpecial(264)).isFalse();
    }

    @Test
    void theLongestWordWins() {
        assertThat(TINY.encode("Wait, 2 digits</think>\\boxed{2}<|im_end|>"))
                .containsExactly(264, ',', ' ', '2', 267, 263, 268, '2', '}', 258);
        assertThat(TINY.encode("one digit")).endsWith('e', 266);
    }

    @Test
    void decodingGivesAnyTextBack() {
        String text = "Wait é 中文 😀 <img><IMG_CONTEXT></img>\u0000\t";
        assertThat(TINY.decode(TINY.encode(text))).isEqualTo(text);
        assertThat(TINY.decode(TINY.encode("a<|im_end|>b</think>"), true)).isEqualTo("ab</think>");
    }

    @Test
    void anUnpairedSurrogateBecomesTheReplacementCharacter() {
        assertThat(TINY.decode(TINY.encode("a\ud800b"))).isEqualTo("a\ufffdb");
    }

    @Test
    void bytesThatAreNotTextBecomeTheReplacementCharacter() {
        assertThat(TINY.decode(new int[] {'a', 0xe4, 'b'})).isEqualTo("a\ufffdb");
    }

    @Test
    void streamingHoldsAnIncompleteCharacterBack() {
        StreamingDecoder decoder = TINY.streamingDecoder();
        byte[] smile = "😀".getBytes(StandardCharsets.UTF_8);
        assertThat(decoder.accept(smile[0] & 0xff)).isEmpty();
        assertThat(decoder.accept(smile[1] & 0xff)).isEmpty();
        assertThat(decoder.accept(smile[2] & 0xff)).isEmpty();
        assertThat(decoder.accept(smile[3] & 0xff)).isEqualTo("😀");
        assertThat(decoder.accept(264)).isEqualTo("Wait");
        assertThat(decoder.accept(0xe4)).isEmpty();
        assertThat(decoder.finish()).isEqualTo("\ufffd");
        assertThat(decoder.accept('x')).isEqualTo("x");
        assertThat(decoder.finish()).isEmpty();
    }

    @Test
    void aTokenIsShownReadably() {
        assertThat(TINY.token(264)).isEqualTo("Wait");
        assertThat(TINY.token(' ')).isEqualTo(" ");
        assertThat(TINY.token('\n')).isEqualTo("\\n");
        assertThat(TINY.token(7)).isEqualTo("<0x07>");
        assertThat(TINY.token(0xe4)).isEqualTo("<0xE4>");
        assertThat(TINY.token(151_000)).isEqualTo("<|unused 151000|>");
        assertThatIllegalArgumentException().isThrownBy(() -> TINY.token(-1));
    }

    @Test
    void aSavedTokenizerIsTheSameFile(@TempDir Path folder) throws IOException {
        TINY.save(folder);
        Tokenizer loaded = Tokenizer.load(folder);
        assertThat(loaded.encode("I see 2 digits")).isEqualTo(TINY.encode("I see 2 digits"));
        byte[] first = Files.readAllBytes(folder.resolve("tokenizer.json"));
        loaded.save(folder);
        assertThat(Files.readAllBytes(folder.resolve("tokenizer.json"))).isEqualTo(first);
        try (var files = Files.list(folder)) {
            assertThat(files).hasSize(1);
        }
    }

    @Test
    void theOlderFilesAreReadAndNamed(@TempDir Path folder) throws IOException {
        Map<String, Object> vocabulary = bytes();
        vocabulary.put("ab", 256);
        String vocabularyJson = JsonMapper.shared().writeValueAsString(vocabulary);
        Files.writeString(folder.resolve("vocab.json"), vocabularyJson);
        refusesFolder(folder, "merges.txt: does not exist; ");
        Files.writeString(folder.resolve("merges.txt"), "#version: 0.2\na b\n");
        Files.writeString(folder.resolve("added_tokens.json"), "{\"<e>\":257,\"<t>\":258}");
        Files.writeString(folder.resolve("special_tokens_map.json"), "{\"eos_token\":\"<e>\"}");
        Tokenizer tokenizer = Tokenizer.load(folder);
        assertThat(tokenizer.encode("ab<t>a<e>")).containsExactly(256, 258, 'a', 257);
        assertThat(tokenizer.decode(new int[] {256, 257, 258}, true)).isEqualTo("ab<t>");

        Files.writeString(
                folder.resolve("tokenizer_config.json"),
                "{\"added_tokens_decoder\":{\"258\":{\"content\":\"<t>\",\"special\":true}}}");
        assertThat(Tokenizer.load(folder).isSpecial(258)).isTrue();

        Files.writeString(folder.resolve("merges.txt"), "#version: 0.2\na b\nb a\n");
        refusesFolder(folder, "merges.txt: line 3: needs \"ba\", which is not in model.vocab; ");
        Files.writeString(
                folder.resolve("vocab.json"), vocabularyJson.replace("\"ab\":256", "\"ab\":97"));
        refusesFolder(folder, "vocab.json: \"ab\": has the id 97 of \"a\"; ");
        Files.writeString(folder.resolve("vocab.json"), "[1]");
        refusesFolder(folder, "vocab.json: is not a JSON object; ");
        Files.writeString(
                folder.resolve("tokenizer_config.json"), "{\"added_tokens_decoder\":{\"x\":{}}}");
        refusesFolder(folder, "tokenizer_config.json: added_tokens_decoder.x: has no valid id; ");
        Files.writeString(
                folder.resolve("tokenizer_config.json"),
                "{\"tokenizer_class\":\"LlamaTokenizer\"}");
        refusesFolder(folder, "tokenizer_class: is \"LlamaTokenizer\", of which only");
    }

    @Test
    void tokensThatOnlyTheConfigurationHasAreAdded(@TempDir Path folder) throws IOException {
        Files.writeString(folder.resolve("tokenizer.json"), file(Map.of(), List.of(), Map.of()));
        Files.writeString(
                folder.resolve("tokenizer_config.json"),
                "{\"added_tokens_decoder\":{\"300\":{\"content\":\"<t>\",\"special\":true}}}");
        Path saved = Files.createDirectory(folder.resolve("saved"));
        Tokenizer.load(folder).save(saved);
        for (Path place : List.of(folder, saved)) {
            assertThat(Tokenizer.load(place).encode("a<t>")).containsExactly('a', 300);
        }
    }

    private static void refusesFolder(Path folder, String message) {
        assertThatThrownBy(() -> Tokenizer.load(folder))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.toString())
                .hasMessageContaining(message);
    }

    @Test
    void idsFarBeyondTheTokensAreRefused() {
        String good = file(Map.of("ab", 256), List.of("a b"), Map.of());
        refuses(good.replace("\"ab\":256", "\"ab\":9000000"), "has no valid id (9000000)");
    }

    @Test
    void bothSpellingsOfMergesAreRead() {
        Map<String, Integer> words = Map.of("ab", 256, "abc", 257);
        for (Object merges :
                List.of(List.of("a b", "ab c"), List.of(List.of("a", "b"), List.of("ab", "c")))) {
            Tokenizer tokenizer = Tokenizer.parse(file(words, merges, Map.of()), "test");
            assertThat(tokenizer.encode("abcab")).containsExactly(257, 256);
        }
    }

    @Test
    void aPieceThatIsATokenIsTakenWholeWhereMergesAreIgnored() {
        String json = file(Map.of("abc", 256), List.of(), Map.of());
        assertThat(Tokenizer.parse(json, "test").encode("abc")).hasSize(3);
        String ignoring = json.replace("\"merges\"", "\"ignore_merges\":true,\"merges\"");
        assertThat(Tokenizer.parse(ignoring, "test").encode("abc")).containsExactly(256);
    }

    @Test
    void theRegexOfGpt2CutsWhereByteLevelSaysSo() {
        Map<String, Object> byteLevel = Map.of("type", "ByteLevel", "add_prefix_space", false);
        String json = file(Map.of("Ġa", 256, "aĠ", 257), List.of("a Ġ", "Ġ a"), byteLevel);
        assertThat(Tokenizer.parse(json, "test").encode("a a")).containsExactly('a', 256);
        assertThat(Tokenizer.parse(file(Map.of(), List.of(), prefixing()), "test").encode("a"))
                .containsExactly(' ', 'a');
    }

    /// The first tries every way to cut the text, the second calls itself for each character.
    @Test
    void aPatternWithoutEndIsGivenUp() {
        for (String pattern : List.of("(a+)+$", "(a|a)*b")) {
            Map<String, Object> split =
                    Map.of(
                            "type", "Split",
                            "behavior", "Isolated",
                            "pattern", Map.of("Regex", pattern));
            Tokenizer tokenizer = Tokenizer.parse(file(Map.of(), List.of(), split), "test");
            assertThatThrownBy(() -> tokenizer.encode("a".repeat(50_000) + "!"))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining(pattern + ": takes too long on this text; ");
        }
    }

    private static Map<String, Object> prefixing() {
        return Map.of("type", "ByteLevel", "add_prefix_space", true);
    }

    @Test
    void addedTokensStripAndKeepWordsAsTheySay() {
        String json =
                file(Map.of(), List.of(), Map.of())
                        .replace(
                                "\"added_tokens\":[]",
                                """
                                "added_tokens":[
                                {"id":256,"content":"<l>","lstrip":true},
                                {"id":257,"content":"<r>","rstrip":true},
                                {"id":258,"content":"word","single_word":true},
                                {"id":259,"content":"<l><r>"}]\
                                """);
        Tokenizer tokenizer = Tokenizer.parse(json, "test");
        assertThat(tokenizer.encode("a \n<l> b")).containsExactly('a', 256, ' ', 'b');
        assertThat(tokenizer.encode("a <r> \nb")).containsExactly('a', ' ', 257, 'b');
        assertThat(tokenizer.encode("word words")).startsWith(258, ' ', 'w').hasSize(7);
        assertThat(tokenizer.encode("<l><r>")).containsExactly(259);
        assertThat(tokenizer.encode("<r> <l>")).containsExactly(257, 256);
    }

    @Test
    void normalizedTokensAreFoundAfterTheNormalizer() {
        String json =
                file(Map.of(), List.of(), Map.of())
                        .replace("\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}")
                        .replace(
                                "\"added_tokens\":[]",
                                "\"added_tokens\":[{\"id\":256,\"content\":\"é\",\"normalized\":true},"
                                        + "{\"id\":257,\"content\":\"ö\",\"normalized\":false}]");
        Tokenizer tokenizer = Tokenizer.parse(json, "test");
        assertThat(tokenizer.encode("e\u0301")).containsExactly(256);
        assertThat(tokenizer.encode("ö")).containsExactly(257);
        assertThat(tokenizer.encode("o\u0308")).containsExactly(0xc3, 0xb6);
    }

    @Test
    void manyThreadsMayEncode() {
        String text = "I see 4_5_. Wait, ";
        int[] expected = TINY.encode(text);
        assertThat(
                        java.util.stream.IntStream.range(0, 1000)
                                .parallel()
                                .allMatch(_ -> Arrays.equals(TINY.encode(text), expected)))
                .isTrue();
    }

    @Test
    void aBadFileIsNamedWithThePlace(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> Tokenizer.load(folder))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("tokenizer.json: does not exist; ");
        Files.write(folder.resolve("tokenizer.json"), new byte[] {'{', (byte) 0xff});
        assertThatThrownBy(() -> Tokenizer.load(folder))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("is not UTF-8");
        String good = file(Map.of("ab", 256), List.of("a b"), Map.of());
        refuses(good.substring(0, good.length() / 2), "test: line 1, column");
        refuses("[]", "model: is missing");
        refuses(good.replace("\"BPE\"", "\"Unigram\""), "model.type: is \"Unigram\"");
        refuses(good.replace("\"a b\"", "\"a q r\""), "model.merges[0]: is not a pair");
        refuses(good.replace("\"a b\"", "\"b a\""), "model.merges[0]: needs \"ba\"");
        refuses(good.replace("\"ab\":256", "\"ab\":97"), "has the id 97 of");
        refuses(good.replace("\"ab\":256", "\"ab\":-1"), "has no valid id");
        refuses(good.replace("\"ab\":256", "\"ab\":\"x\""), "has no valid id");
        refuses(good.replace("\"Ġ\":32", "\"nothing\":32"), "has no token \"Ġ\" for byte 32");
        refuses(
                good.replace("\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}"),
                "normalizer.type: \"Lowercase\" is not known");
        refuses(
                good.replace("\"merges\"", "\"byte_fallback\":true,\"merges\""),
                "model.byte_fallback: is set");
        refuses(
                file(Map.of("ab", 256), List.of("a b"), Map.of("type", "Metaspace")),
                "pre_tokenizer.type: \"Metaspace\"");
        refuses(
                file(
                        Map.of("ab", 256),
                        List.of("a b"),
                        Map.of(
                                "type",
                                "Split",
                                "behavior",
                                "Isolated",
                                "pattern",
                                Map.of("Regex", "(a"))),
                "pre_tokenizer.pattern.Regex: can't be read");
    }

    private static void refuses(String json, String message) {
        assertThatThrownBy(() -> Tokenizer.parse(json, "test"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("test: ")
                .hasMessageContaining(message)
                .hasMessageContaining("; ");
    }

    private static Map<String, Object> bytes() {
        Map<String, Object> vocabulary = new LinkedHashMap<>();
        for (int value = 0; value < 256; value++) {
            vocabulary.put(String.valueOf(ByteLevel.character(value)), value);
        }
        return vocabulary;
    }

    /// A tokenizer.json of the 256 bytes and `words`.
    private static String file(
            Map<String, Integer> words, Object merges, Map<String, Object> preTokenizer) {
        Map<String, Object> vocabulary = bytes();
        vocabulary.putAll(words);
        Map<String, Object> model = new LinkedHashMap<>();
        model.put("type", "BPE");
        model.put("vocab", vocabulary);
        model.put("merges", merges);
        Map<String, Object> root = new LinkedHashMap<>();
        root.put("added_tokens", List.of());
        root.put("normalizer", null);
        root.put("pre_tokenizer", preTokenizer.isEmpty() ? null : preTokenizer);
        root.put("model", model);
        return JsonMapper.shared().writeValueAsString(root);
    }
}
