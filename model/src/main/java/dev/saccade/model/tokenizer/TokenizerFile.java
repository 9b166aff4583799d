package dev.saccade.model.tokenizer;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads a `tokenizer.json`: what it declares is either done exactly or refused by name.
final class TokenizerFile {
    private static final String CURE =
            "use the tokenizer.json of a byte-level BPE model such as Qwen2.5";

    /// So many ids are always accepted; more only where there are tokens for at least a quarter.
    private static final int MOST_SPARSE_IDS = 1 << 18;

    /// A longer pattern is no pre-tokenizer's; nested far enough, it would overflow the stack.
    private static final int LONGEST_PATTERN = 2000;

    /// Turns a place in the tree into what messages call it.
    private final UnaryOperator<String> places;

    private int idEnd = MOST_SPARSE_IDS;

    private TokenizerFile(UnaryOperator<String> places) {
        this.places = places;
    }

    /// The parts of a tokenizer.
    ///
    /// @param spelled the vocabulary's tokens by id as they are spelled; null where there is none
    /// @param idOfByte the id of each single byte
    /// @param merges the merge table
    /// @param ignoreMerges a piece that is itself a token is taken whole
    /// @param added the added tokens
    /// @param normalizers the normal forms to bring text to, in order
    /// @param preTokenizer cuts text into pieces
    @SuppressWarnings("ArrayRecordComponent") // handed over once, never compared
    record Parts(
            @Nullable String[] spelled,
            int[] idOfByte,
            BytePairs merges,
            boolean ignoreMerges,
            List<AddedToken> added,
            List<Normalizer.Form> normalizers,
            PreTokenizer preTokenizer) {}

    /// @param root the file's content
    /// @param places turns a place in it into what messages call it
    static Parts parse(JsonNode root, UnaryOperator<String> places) {
        return new TokenizerFile(places).parts(root);
    }

    /// @param json a file's text
    /// @param source its name in messages
    static JsonNode readTree(String json, String source) {
        try {
            return JsonMapper.shared().readTree(json);
        } catch (JacksonException e) {
            throw new InputException(
                    "%s: line %d, column %d"
                            .formatted(
                                    source,
                                    e.getLocation().getLineNr(),
                                    e.getLocation().getColumnNr()),
                    "not JSON: " + e.getOriginalMessage().lines().findFirst().orElse(""),
                    "fetch the file again",
                    e);
        }
    }

    /// A file's text.
    ///
    /// @param cure what to do where there is no such file
    static String readText(Path file, String cure) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(Files.readAllBytes(file)))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new InputException(
                    file.toString(), "is not UTF-8 text", "fetch the file again", e);
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    Files.exists(file) ? "can't be read: " + e.getMessage() : "does not exist",
                    cure,
                    e);
        }
    }

    private Parts parts(JsonNode root) {
        JsonNode model = object(root, "", "model");
        if (!"BPE".equals(model.path("type").asString("BPE"))) {
            throw bad("model.type", "is \"%s\", not BPE".formatted(model.path("type").asString()));
        }
        refuse(model, "byte_fallback");
        refuse(model, "dropout");
        refuse(model, "continuing_subword_prefix");
        refuse(model, "end_of_word_suffix");
        requireByteLevelDecoder(root.path("decoder"));

        JsonNode vocabulary = object(model, "model.", "vocab");
        idEnd =
                Math.max(
                        MOST_SPARSE_IDS,
                        4 * (vocabulary.size() + root.path("added_tokens").size()));
        List<AddedToken> added = addedTokens(root.path("added_tokens"));
        Map<String, Integer> idOf = HashMap.newHashMap(vocabulary.size());
        @Nullable String[] spelled = spelledById(vocabulary, idOf);
        checkAddedIds(added, spelled);

        int[] idOfByte = new int[256];
        for (int value = 0; value < 256; value++) {
            String character = String.valueOf(ByteLevel.character(value));
            Integer id = idOf.get(character);
            if (id == null) {
                throw bad(
                        "model.vocab",
                        "has no token \"%s\" for byte %d, so it is not a byte-level vocabulary"
                                .formatted(character, value));
            }
            idOfByte[value] = id;
        }
        return new Parts(
                spelled,
                idOfByte,
                merges(model.path("merges"), idOf),
                model.path("ignore_merges").asBoolean(false),
                added,
                normalizers("normalizer", root.path("normalizer")),
                preTokenizer("pre_tokenizer", root.path("pre_tokenizer")));
    }

    private @Nullable String[] spelledById(JsonNode vocabulary, Map<String, Integer> idOf) {
        @Nullable String[] spelled = new @Nullable String[vocabulary.size()];
        for (Map.Entry<String, JsonNode> entry : vocabulary.properties()) {
            String place = "model.vocab \"%s\"".formatted(entry.getKey());
            int id = id(place, entry.getValue());
            if (id >= spelled.length) {
                spelled = Arrays.copyOf(spelled, Math.max(id + 1, spelled.length * 2));
            }
            if (spelled[id] != null) {
                throw bad(place, "has the id %d of \"%s\"".formatted(id, spelled[id]));
            }
            spelled[id] = entry.getKey();
            idOf.put(entry.getKey(), id);
        }
        int size = spelled.length;
        while (size > 0 && spelled[size - 1] == null) {
            size--;
        }
        return Arrays.copyOf(spelled, size);
    }

    private void checkAddedIds(List<AddedToken> added, @Nullable String[] spelled) {
        Map<Integer, String> seen = new HashMap<>();
        for (AddedToken token : added) {
            String other = seen.put(token.id(), token.content());
            if (other == null && token.id() < spelled.length) {
                other = spelled[token.id()];
            }
            if (other != null
                    && !other.equals(token.content())
                    && !other.equals(ByteLevel.spell(token.content()))) {
                throw bad(
                        "added_tokens \"%s\"".formatted(token.content()),
                        "has the id %d of \"%s\"".formatted(token.id(), other));
            }
        }
    }

    private List<AddedToken> addedTokens(JsonNode list) {
        requireListOrNothing("added_tokens", list);
        List<AddedToken> added = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            JsonNode token = list.get(i);
            String place = "added_tokens[%d]".formatted(i);
            JsonNode content = token.path("content");
            if (!content.isString() || content.asString().isEmpty()) {
                throw bad(place + ".content", "is not a text");
            }
            added.add(
                    new AddedToken(
                            id(place + ".id", token.path("id")),
                            content.asString(),
                            token.path("single_word").asBoolean(false),
                            token.path("lstrip").asBoolean(false),
                            token.path("rstrip").asBoolean(false),
                            token.path("normalized").asBoolean(false),
                            token.path("special").asBoolean(false)));
        }
        return added;
    }

    /// Merges are spelled `"a b"` or `["a", "b"]`; their ranks are their places in the list.
    private BytePairs merges(JsonNode list, Map<String, Integer> idOf) {
        requireListOrNothing("model.merges", list);
        BytePairs merges = new BytePairs(list.size());
        for (int rank = 0; rank < list.size(); rank++) {
            JsonNode merge = list.get(rank);
            String left;
            String right;
            if (merge.isArray() && merge.size() == 2) {
                left = merge.get(0).asString();
                right = merge.get(1).asString();
            } else {
                String text = merge.isString() ? merge.asString() : "";
                int space = text.indexOf(' ');
                if (space < 1 || space == text.length() - 1 || text.indexOf(' ', space + 1) >= 0) {
                    throw bad("model.merges[%d]".formatted(rank), "is not a pair of tokens");
                }
                left = text.substring(0, space);
                right = text.substring(space + 1);
            }
            merges.put(
                    idOfMerge(rank, left, idOf),
                    idOfMerge(rank, right, idOf),
                    rank,
                    idOfMerge(rank, left + right, idOf));
        }
        return merges;
    }

    private int idOfMerge(int rank, String token, Map<String, Integer> idOf) {
        Integer id = idOf.get(token);
        if (id == null) {
            throw bad(
                    "model.merges[%d]".formatted(rank),
                    "needs \"%s\", which is not in model.vocab".formatted(token));
        }
        return id;
    }

    private List<Normalizer.Form> normalizers(String place, JsonNode node) {
        if (isNothing(node)) {
            return List.of();
        }
        String type = node.path("type").asString("");
        if (type.equals("Sequence")) {
            List<Normalizer.Form> forms = new ArrayList<>();
            JsonNode steps = node.path("normalizers");
            for (int i = 0; i < steps.size(); i++) {
                forms.addAll(normalizers("%s.normalizers[%d]".formatted(place, i), steps.get(i)));
            }
            return forms;
        }
        return List.of(
                switch (type) {
                    case "NFC" -> Normalizer.Form.NFC;
                    case "NFD" -> Normalizer.Form.NFD;
                    case "NFKC" -> Normalizer.Form.NFKC;
                    case "NFKD" -> Normalizer.Form.NFKD;
                    default -> throw bad(place + ".type", "\"%s\" is not known".formatted(type));
                });
    }

    private PreTokenizer preTokenizer(String place, JsonNode node) {
        if (isNothing(node)) {
            return new PreTokenizer.Whole();
        }
        String type = node.path("type").asString("");
        return switch (type) {
            case "ByteLevel" -> byteLevel(node);
            case "Split" -> split(place, node);
            case "Sequence" -> {
                List<PreTokenizer> steps = new ArrayList<>();
                JsonNode list = node.path("pretokenizers");
                for (int i = 0; i < list.size(); i++) {
                    PreTokenizer step =
                            preTokenizer("%s.pretokenizers[%d]".formatted(place, i), list.get(i));
                    if (!(step instanceof PreTokenizer.Whole)) {
                        steps.add(step);
                    }
                }
                yield steps.size() == 1
                        ? steps.getFirst()
                        : new PreTokenizer.Sequence(List.copyOf(steps));
            }
            default -> throw bad(place + ".type", "\"%s\" is not known".formatted(type));
        };
    }

    private static PreTokenizer byteLevel(JsonNode node) {
        PreTokenizer cut =
                node.path("use_regex").asBoolean(true)
                        ? PreTokenizer.Regex.GPT2
                        : new PreTokenizer.Whole();
        return node.path("add_prefix_space").asBoolean(true)
                ? new PreTokenizer.Sequence(List.of(new PreTokenizer.PrefixSpace(), cut))
                : cut;
    }

    private PreTokenizer split(String place, JsonNode node) {
        if (!"Isolated".equals(node.path("behavior").asString(""))) {
            throw bad(place + ".behavior", "is not \"Isolated\"");
        }
        if (node.path("invert").asBoolean(false)) {
            throw bad(place + ".invert", "is not false");
        }
        JsonNode pattern = node.path("pattern");
        JsonNode literal = pattern.path("String");
        JsonNode regex = pattern.path("Regex");
        if (!literal.isString() && !regex.isString()) {
            throw bad(place + ".pattern", "has neither Regex nor String");
        }
        if (regex.isString() && regex.asString().equals(PreTokenizer.Qwen2.PATTERN)) {
            return new PreTokenizer.Qwen2();
        }
        if (regex.isString() && regex.asString().length() > LONGEST_PATTERN) {
            throw bad(
                    place + ".pattern.Regex",
                    "has %d characters".formatted(regex.asString().length()));
        }
        String text =
                regex.isString()
                        ? regex.asString()
                        : java.util.regex.Pattern.quote(literal.asString());
        try {
            return new PreTokenizer.Regex(PreTokenizer.Regex.compile(text));
        } catch (PatternSyntaxException e) {
            throw bad(
                    place + ".pattern.Regex",
                    "can't be read: %s at %d".formatted(e.getDescription(), e.getIndex()));
        }
    }

    private void requireByteLevelDecoder(JsonNode decoder) {
        if (isNothing(decoder)) {
            return;
        }
        String type = decoder.path("type").asString("");
        if (!type.equals("ByteLevel")) {
            throw bad("decoder.type", "is \"%s\", not ByteLevel".formatted(type));
        }
    }

    private void refuse(JsonNode model, String key) {
        JsonNode value = model.path(key);
        boolean off =
                isNothing(value)
                        || (value.isString() && value.asString().isEmpty())
                        || (value.isBoolean() && !value.asBoolean())
                        || (value.isNumber() && value.asDouble() == 0);
        if (!off) {
            throw bad("model." + key, "is set (%s), which is not supported".formatted(value));
        }
    }

    private void requireListOrNothing(String place, JsonNode node) {
        if (!isNothing(node) && !node.isArray()) {
            throw bad(place, "is not a list");
        }
    }

    private JsonNode object(JsonNode parent, String prefix, String key) {
        JsonNode node = parent.path(key);
        if (!node.isObject()) {
            throw bad(prefix + key, "is missing or not an object");
        }
        return node;
    }

    private int id(String place, JsonNode node) {
        // Tables have a place for each id: a few damaged numbers may not ask for gigabytes.
        if (!node.isInt() || node.asInt() < 0 || node.asInt() >= idEnd) {
            throw bad(
                    place, "has no valid id (%s)".formatted(node.isMissingNode() ? "none" : node));
        }
        return node.asInt();
    }

    private static boolean isNothing(JsonNode node) {
        return node.isMissingNode() || node.isNull();
    }

    private InputException bad(String place, String why) {
        return new InputException(places.apply(place), why, CURE);
    }
}
