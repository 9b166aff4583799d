package dev.saccade.model.tokenizer;

import dev.saccade.engine.InputException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// The older files of a Qwen2 tokenizer, put together to what `tokenizer.json` would say:
/// `vocab.json` (tokens and ids), `merges.txt` (one pair a line) and the added tokens, from
/// `added_tokens.json` (texts and ids) and from `added_tokens_decoder` in `tokenizer_config.json`
/// (with all their flags; it counts where both name an id).
final class VocabularyFiles {
    static final String VOCABULARY = "vocab.json";
    static final String MERGES = "merges.txt";
    static final String ADDED = "added_tokens.json";
    static final String CONFIG = "tokenizer_config.json";
    private static final String SPECIAL = "special_tokens_map.json";
    private static final String DECODER = "added_tokens_decoder";
    private static final String VERSION = "#version";
    private static final String CURE = "use the files of a Qwen2 model, or its tokenizer.json";
    private static final Set<String> CLASSES = Set.of("Qwen2Tokenizer", "Qwen2TokenizerFast");

    private final Path folder;
    private final JsonNode config;

    VocabularyFiles(Path folder) {
        this.folder = folder;
        this.config = optional(CONFIG);
    }

    /// Whether a folder has at least one of the two files that are always needed.
    static boolean areIn(Path folder) {
        return Files.exists(folder.resolve(VOCABULARY)) || Files.exists(folder.resolve(MERGES));
    }

    /// What a `tokenizer.json` of the same tokenizer holds.
    ObjectNode toTokenizerJson() {
        String type = config.path("tokenizer_class").asString("Qwen2Tokenizer");
        if (!CLASSES.contains(type)) {
            throw new InputException(
                    folder.resolve(CONFIG) + ": tokenizer_class",
                    "is \"%s\", of which only tokenizer.json can be read".formatted(type),
                    "add the model's tokenizer.json to the folder");
        }
        ObjectNode root = JsonMapper.shared().createObjectNode();
        root.put("version", "1.0");
        root.putNull("truncation");
        root.putNull("padding");
        root.set("added_tokens", addedTokens());
        root.putObject("normalizer").put("type", "NFC");
        ArrayNode steps =
                root.putObject("pre_tokenizer").put("type", "Sequence").putArray("pretokenizers");
        ObjectNode split = steps.addObject().put("type", "Split");
        split.putObject("pattern").put("Regex", PreTokenizer.Qwen2.PATTERN);
        split.put("behavior", "Isolated").put("invert", false);
        byteLevel(steps.addObject());
        root.putNull("post_processor");
        byteLevel(root.putObject("decoder"));
        ObjectNode model = root.putObject("model");
        model.put("type", "BPE");
        model.putNull("dropout");
        model.putNull("unk_token");
        model.putNull("continuing_subword_prefix");
        model.putNull("end_of_word_suffix");
        model.put("fuse_unk", false);
        model.put("byte_fallback", false);
        model.set("vocab", json(folder.resolve(VOCABULARY)));
        ArrayNode merges = model.putArray("merges");
        List<String> lines = mergeLines();
        lines.subList(mergesBegin(lines), lines.size()).forEach(merges::add);
        return root;
    }

    private static void byteLevel(ObjectNode step) {
        step.put("type", "ByteLevel");
        step.put("add_prefix_space", false);
        step.put("trim_offsets", false);
        step.put("use_regex", false);
    }

    /// Where a user finds a place of the `tokenizer.json` that was made here.
    String place(String place) {
        String vocabulary = "model.vocab";
        String merge = "model.merges[";
        if (place.startsWith(vocabulary)) {
            String rest = place.substring(vocabulary.length());
            return folder.resolve(VOCABULARY) + (rest.isEmpty() ? "" : ":" + rest);
        }
        if (place.startsWith(merge)) {
            int index = Integer.parseInt(place.substring(merge.length(), place.indexOf(']')));
            return folder.resolve(MERGES) + ": line " + (index + mergesBegin(mergeLines()) + 1);
        }
        return folder + ": " + place;
    }

    private List<String> mergeLines() {
        List<String> lines =
                new ArrayList<>(
                        TokenizerFile.readText(folder.resolve(MERGES), CURE).lines().toList());
        while (!lines.isEmpty() && lines.getLast().isEmpty()) {
            lines.removeLast();
        }
        return lines;
    }

    private static int mergesBegin(List<String> lines) {
        return !lines.isEmpty() && lines.getFirst().startsWith(VERSION) ? 1 : 0;
    }

    private ArrayNode addedTokens() {
        Map<Integer, JsonNode> byId = new TreeMap<>();
        Set<String> special = specialContents();
        for (Map.Entry<String, JsonNode> entry : optional(ADDED).properties()) {
            ObjectNode token = JsonMapper.shared().createObjectNode();
            int id = id(folder.resolve(ADDED) + ": \"" + entry.getKey() + "\"", entry.getValue());
            token.put("id", id);
            token.put("content", entry.getKey());
            token.put("single_word", false);
            token.put("lstrip", false);
            token.put("rstrip", false);
            token.put("normalized", false);
            token.put("special", special.contains(entry.getKey()));
            byId.put(id, token);
        }
        for (JsonNode token : addedTokensOfConfig()) {
            byId.put(token.path("id").asInt(), token);
        }
        ArrayNode tokens = JsonMapper.shared().createArrayNode();
        byId.values().forEach(tokens::add);
        return tokens;
    }

    /// The tokens of `added_tokens_decoder`, spelled as in a `tokenizer.json`.
    List<JsonNode> addedTokensOfConfig() {
        List<JsonNode> tokens = new ArrayList<>();
        for (Map.Entry<String, JsonNode> entry : config.path(DECODER).properties()) {
            String place = folder.resolve(CONFIG) + ": " + DECODER + "." + entry.getKey();
            if (!(entry.getValue() instanceof ObjectNode value)) {
                throw new InputException(place, "is not an object", CURE);
            }
            int id;
            try {
                id = Integer.parseInt(entry.getKey());
            } catch (NumberFormatException e) {
                throw new InputException(place, "has no valid id", CURE, e);
            }
            ObjectNode token = JsonMapper.shared().createObjectNode();
            token.put("id", id);
            token.setAll(value);
            token.put("id", id);
            tokens.add(token);
        }
        return tokens;
    }

    /// The texts that the configuration gives a role, such as `eos_token`: control, not text.
    private Set<String> specialContents() {
        Set<String> contents = new HashSet<>();
        for (JsonNode node : List.of(config, optional(SPECIAL))) {
            for (Map.Entry<String, JsonNode> entry : node.properties()) {
                if (entry.getKey().endsWith("_token")) {
                    contents.add(content(entry.getValue()));
                }
            }
            for (JsonNode token : node.path("additional_special_tokens")) {
                contents.add(content(token));
            }
        }
        return contents;
    }

    private static String content(JsonNode token) {
        return token.isString() ? token.asString() : token.path("content").asString("");
    }

    private static int id(String place, JsonNode node) {
        if (!node.isInt()) {
            throw new InputException(place, "has no valid id (%s)".formatted(node), CURE);
        }
        return node.asInt();
    }

    private JsonNode optional(String name) {
        Path file = folder.resolve(name);
        return Files.exists(file) ? json(file) : JsonMapper.shared().createObjectNode();
    }

    private static JsonNode json(Path file) {
        JsonNode node = TokenizerFile.readTree(TokenizerFile.readText(file, CURE), file.toString());
        if (!node.isObject()) {
            throw new InputException(file.toString(), "is not a JSON object", CURE);
        }
        return node;
    }
}
