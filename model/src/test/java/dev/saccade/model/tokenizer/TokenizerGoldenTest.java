package dev.saccade.model.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// Qwen2.5's own tokenizer against ids that Hugging Face's library gave, where the files lie beside
/// the repository (`../shared/data/qwen2.5-tokenizer`; they are not part of it).
final class TokenizerGoldenTest {
    private static @Nullable Tokenizer qwen;
    private static JsonNode json = JsonMapper.shared().nullNode();
    private static final List<String> TEXTS = new ArrayList<>();
    private static final List<int[]> IDS = new ArrayList<>();

    @BeforeAll
    static void read() throws IOException {
        Path folder = goldenFolder();
        assumeTrue(Files.isDirectory(folder), "no Qwen2.5 tokenizer at " + folder);
        try (InputStream file =
                new GZIPInputStream(Files.newInputStream(folder.resolve("tokenizer.json.gz")))) {
            String text = new String(file.readAllBytes(), StandardCharsets.UTF_8);
            json = JsonMapper.shared().readTree(text);
            qwen = Tokenizer.parse(text, "tokenizer.json.gz");
        }
        for (String line : Files.readAllLines(folder.resolve("golden_ids.jsonl"))) {
            JsonNode row = JsonMapper.shared().readTree(line);
            TEXTS.add(row.path("text").asString());
            int[] ids = new int[row.path("ids").size()];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = row.path("ids").get(i).asInt();
            }
            IDS.add(ids);
        }
    }

    @Test
    void everyGoldenTextHasItsIds() {
        for (int i = 0; i < TEXTS.size(); i++) {
            assertThat(qwen().encode(TEXTS.get(i))).as(TEXTS.get(i)).isEqualTo(IDS.get(i));
        }
    }

    /// What is remembered of pieces may not change what they become.
    @Test
    void aTextHasTheSameIdsAgainAndInOtherCompany() {
        String together = String.join("\n\n", TEXTS);
        int[] ids = qwen().encode(together);
        assertThat(qwen().encode(together)).isEqualTo(ids);
        for (int i = TEXTS.size() - 1; i >= 0; i--) {
            assertThat(qwen().encode(TEXTS.get(i))).as(TEXTS.get(i)).isEqualTo(IDS.get(i));
        }
    }

    @Test
    void theOlderFilesGiveTheSameIds(@TempDir Path folder) throws IOException {
        Files.writeString(
                folder.resolve("vocab.json"), json.path("model").path("vocab").toString());
        StringBuilder merges = new StringBuilder("#version: 0.2\n");
        for (JsonNode merge : json.path("model").path("merges")) {
            merges.append(
                            merge.isString()
                                    ? merge.asString()
                                    : merge.get(0).asString() + " " + merge.get(1).asString())
                    .append('\n');
        }
        Files.writeString(folder.resolve("merges.txt"), merges);
        ObjectNode added = JsonMapper.shared().createObjectNode();
        ObjectNode config = JsonMapper.shared().createObjectNode();
        ObjectNode decoder = config.putObject("added_tokens_decoder");
        for (JsonNode token : json.path("added_tokens")) {
            added.set(token.path("content").asString(), token.path("id"));
            ObjectNode flags = (ObjectNode) token.deepCopy();
            flags.remove("id");
            decoder.set(token.path("id").asString(), flags);
        }
        Files.writeString(folder.resolve("added_tokens.json"), added.toString());
        requireSameIds(Tokenizer.load(folder));
        Files.writeString(folder.resolve("tokenizer_config.json"), config.toString());
        Tokenizer whole = Tokenizer.load(folder);
        requireSameIds(whole);
        for (int id = 0; id < whole.size(); id++) {
            assertThat(whole.isSpecial(id)).isEqualTo(qwen().isSpecial(id));
        }
        Path saved = Files.createDirectory(folder.resolve("saved"));
        whole.save(saved);
        requireSameIds(Tokenizer.load(saved));
    }

    private static void requireSameIds(Tokenizer tokenizer) {
        assertThat(tokenizer.size()).isEqualTo(qwen().size());
        for (int i = 0; i < TEXTS.size(); i++) {
            assertThat(tokenizer.encode(TEXTS.get(i))).as(TEXTS.get(i)).isEqualTo(IDS.get(i));
        }
    }

    @Test
    void decodingGivesTheNormalFormBack() {
        for (int i = 0; i < TEXTS.size(); i++) {
            assertThat(qwen().decode(IDS.get(i)))
                    .isEqualTo(Normalizer.normalize(TEXTS.get(i), Normalizer.Form.NFC));
        }
    }

    @Test
    void streamingGivesTheSameTextAndNeverHalfACharacter() {
        for (int i = 0; i < TEXTS.size(); i++) {
            StreamingDecoder decoder = qwen().streamingDecoder();
            StringBuilder text = new StringBuilder();
            for (int id : IDS.get(i)) {
                text.append(decoder.accept(id));
            }
            assertThat(text.append(decoder.finish()).toString())
                    .isEqualTo(qwen().decode(IDS.get(i)));
        }
    }

    @Test
    void theWalkCutsAsTheRegexDoes() {
        List<String> texts = new ArrayList<>(TEXTS);
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(20250711);
        String[] parts = {
            "'",
            "s",
            "LL",
            "ſ",
            "re",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "\u00a0",
            "\u3000",
            "\u0085",
            "7",
            "½",
            "Ⅷ",
            "é",
            "e\u0301",
            "中文",
            "\ud83d\ude00",
            "𝐀",
            "𝟘",
            "\ud800",
            ".",
            "!?",
            "-",
            "_",
            "word",
            "\u200b",
            "\u0000",
            "ª",
            "K"
        };
        for (int i = 0; i < 20_000; i++) {
            StringBuilder text = new StringBuilder();
            for (int part = random.nextInt(1, 12); part > 0; part--) {
                text.append(parts[random.nextInt(parts.length)]);
            }
            texts.add(text.toString());
        }
        PreTokenizer regex =
                new PreTokenizer.Regex(PreTokenizer.Regex.compile(PreTokenizer.Qwen2.PATTERN));
        for (String text : texts) {
            assertThat(pieces(new PreTokenizer.Qwen2(), text))
                    .as(text)
                    .isEqualTo(pieces(regex, text));
        }
    }

    @Test
    void anyBytesThatAreTextComeBack() {
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(77);
        for (int i = 0; i < 2000; i++) {
            StringBuilder text = new StringBuilder();
            for (int j = random.nextInt(40); j > 0; j--) {
                int codePoint = random.nextInt(0x20000);
                if (codePoint < 0xD800 || codePoint > 0xDFFF) {
                    text.appendCodePoint(codePoint);
                }
            }
            String normal = Normalizer.normalize(text, Normalizer.Form.NFC);
            assertThat(qwen().decode(qwen().encode(text.toString()))).isEqualTo(normal);
        }
    }

    private static Tokenizer qwen() {
        return Objects.requireNonNull(qwen);
    }

    private static List<String> pieces(PreTokenizer preTokenizer, String text) {
        List<String> pieces = new ArrayList<>();
        preTokenizer.split(
                text,
                0,
                text.length(),
                (part, begin, end) -> pieces.add(part.substring(begin, end)));
        return pieces;
    }

    /// Beside the repository's root, which is the working directory or above it.
    private static Path goldenFolder() {
        Path root = Path.of("").toAbsolutePath();
        while (!Files.isDirectory(root.resolve("engine-native")) && root.getParent() != null) {
            root = root.getParent();
        }
        return root.resolve("../shared/data/qwen2.5-tokenizer").normalize();
    }
}
