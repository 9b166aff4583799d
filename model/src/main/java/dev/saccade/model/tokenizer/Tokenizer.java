package dev.saccade.model.tokenizer;

import dev.saccade.tensor.AtomicFiles;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;

/// Byte-level BPE as a Hugging Face `tokenizer.json` describes it: added tokens are cut out of the
/// text, the rest is normalised, cut into pieces by the pre-tokenizer, and each piece's bytes are
/// merged. Any text can be encoded, and decoding gives it back (in its normal form, where the file
/// declares one).
///
/// No token is added before or after a text, and nothing is truncated or padded, whatever the file
/// says about it: prompts come from [dev.saccade.model.chat.ChatTemplate].
///
/// Immutable and safe to use from several threads.
public final class Tokenizer {
    /// The name of the file in a checkpoint's folder.
    public static final String FILE_NAME = "tokenizer.json";

    /// Characters below this one are their own NFC form and join with nothing.
    private static final char FIRST_NOT_NFC = 0x300;

    private final String json;
    private final int[] idOfByte;
    private final BytePairs merges;
    private final boolean ignoreMerges;
    private final List<Normalizer.Form> normalizers;
    private final PreTokenizer preTokenizer;
    private final AddedTokens addedToText;
    private final AddedTokens addedToNormalized;
    private final byte[] @Nullable [] bytesOfId;
    private final boolean[] special;
    private final Map<String, Integer> idOfText;
    private final Map<String, Integer> idOfSpelled;
    private final ShortPieceCache shortPieces = new ShortPieceCache();
    private final PieceCache pieces = new PieceCache();

    private Tokenizer(String json, TokenizerFile.Parts parts) {
        this.json = json;
        idOfByte = parts.idOfByte();
        merges = parts.merges();
        ignoreMerges = parts.ignoreMerges();
        normalizers = List.copyOf(parts.normalizers());
        preTokenizer = parts.preTokenizer();
        addedToText = added(parts.added(), token -> !token.normalized());
        addedToNormalized = added(parts.added(), AddedToken::normalized);

        @Nullable String[] spelled = parts.spelled();
        int size = spelled.length;
        for (AddedToken token : parts.added()) {
            size = Math.max(size, token.id() + 1);
        }
        bytesOfId = new byte[size] @Nullable [];
        special = new boolean[size];
        idOfText = new HashMap<>();
        idOfSpelled = HashMap.newHashMap(spelled.length);
        for (int id = 0; id < spelled.length; id++) {
            String token = spelled[id];
            if (token != null) {
                bytesOfId[id] = ByteLevel.bytes(token);
                idOfSpelled.put(token, id);
            }
        }
        for (AddedToken token : parts.added()) {
            bytesOfId[token.id()] = token.content().getBytes(StandardCharsets.UTF_8);
            special[token.id()] = token.special();
            idOfText.put(token.content(), token.id());
        }
    }

    /// Reads a checkpoint's tokenizer: `tokenizer.json`, or where there is none, `vocab.json` and
    /// `merges.txt` with `added_tokens.json` (Qwen2). Added tokens that only
    /// `tokenizer_config.json` has (`added_tokens_decoder`) count too. Every fault is an
    /// [InputException] that names the file and the place in it.
    public static Tokenizer load(Path folder) {
        Path file = folder.resolve(FILE_NAME);
        VocabularyFiles older = new VocabularyFiles(folder);
        if (!Files.exists(file) && VocabularyFiles.areIn(folder)) {
            JsonNode root = older.toTokenizerJson();
            return new Tokenizer(root.toString(), TokenizerFile.parse(root, older::place));
        }
        String json =
                TokenizerFile.readText(
                        file,
                        "give the folder of a checkpoint that holds tokenizer.json, or vocab.json and"
                                + " merges.txt");
        JsonNode root = TokenizerFile.readTree(json, file.toString());
        boolean more = addMissing(root, older.addedTokensOfConfig());
        return new Tokenizer(
                more ? root.toString() : json,
                TokenizerFile.parse(root, place -> file + ": " + place));
    }

    /// Adds the tokens whose id and text are both not among the added ones; whether there were any.
    private static boolean addMissing(JsonNode root, List<JsonNode> tokens) {
        if (!(root.path("added_tokens") instanceof ArrayNode added)) {
            return false;
        }
        Set<JsonNode> known = new HashSet<>();
        for (JsonNode token : added) {
            known.add(token.path("id"));
            known.add(token.path("content"));
        }
        boolean more = false;
        for (JsonNode token : tokens) {
            if (!known.contains(token.path("id")) && !known.contains(token.path("content"))) {
                added.add(token);
                more = true;
            }
        }
        return more;
    }

    /// Reads a `tokenizer.json` from memory.
    ///
    /// @param json the file's text
    /// @param sourceName what messages call it
    public static Tokenizer parse(String json, String sourceName) {
        JsonNode root = TokenizerFile.readTree(json, sourceName);
        return new Tokenizer(json, TokenizerFile.parse(root, place -> sourceName + ": " + place));
    }

    /// Writes `tokenizer.json` into an existing folder, as it was read or, where it was read from
    /// other files, as their content is spelled there. The file appears whole or not at all.
    public void save(Path folder) {
        AtomicFiles.write(folder.resolve(FILE_NAME), json.getBytes(StandardCharsets.UTF_8));
    }

    /// The number of ids: the largest id plus one. A model's vocabulary may be larger.
    public int size() {
        return bytesOfId.length;
    }

    /// The ids of a text. Added tokens in the text, special ones included, become their ids. An
    /// unpaired surrogate counts as U+FFFD.
    public int[] encode(String text) {
        Ids ids = new Ids(Math.max(16, text.length() / 3));
        Encoding encoding = new Encoding(ids);
        addedToText.split(text, encoding);
        return ids.toArray();
    }

    /// The text of ids, special tokens included. Bytes that are not UTF-8 become U+FFFD.
    public String decode(int[] ids) {
        return decode(ids, false);
    }

    /// The text of ids.
    ///
    /// @param skipSpecial leave out special tokens
    public String decode(int[] ids, boolean skipSpecial) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(ids.length * 4);
        for (int id : ids) {
            if (!(skipSpecial && isSpecial(id))) {
                bytes.writeBytes(bytes(id));
            }
        }
        return bytes.toString(StandardCharsets.UTF_8);
    }

    /// Turns ids that arrive one by one into text, never cutting a character.
    public StreamingDecoder streamingDecoder() {
        return new StreamingDecoder(this);
    }

    /// The bytes an id stands for. An id that the tokenizer does not have, as the padding of a
    /// model's vocabulary, is `<|unused N|>`.
    public byte[] bytes(int id) {
        if (id < 0) {
            throw new IllegalArgumentException("token id " + id);
        }
        byte[] bytes = id < bytesOfId.length ? bytesOfId[id] : null;
        return bytes != null
                ? bytes.clone()
                : "<|unused %d|>".formatted(id).getBytes(StandardCharsets.UTF_8);
    }

    /// Whether an id is control rather than text.
    public boolean isSpecial(int id) {
        return id >= 0 && id < special.length && special[id];
    }

    /// One id for display: its text, with `\n`, `\r` and `\t` for these characters and `<0xE4>` for
    /// other control characters and for the bytes of an incomplete character.
    public String token(int id) {
        byte[] bytes = bytes(id);
        try {
            String text =
                    StandardCharsets.UTF_8
                            .newDecoder()
                            .onMalformedInput(CodingErrorAction.REPORT)
                            .decode(ByteBuffer.wrap(bytes))
                            .toString();
            StringBuilder display = new StringBuilder();
            text.codePoints()
                    .forEach(codePoint -> {
                        switch (codePoint) {
                            case '\n' -> display.append("\\n");
                            case '\r' -> display.append("\\r");
                            case '\t' -> display.append("\\t");
                            default -> {
                                if (Character.isISOControl(codePoint)) {
                                    display.append(hexadecimal(codePoint));
                                } else {
                                    display.appendCodePoint(codePoint);
                                }
                            }
                        }
                    });
            return display.toString();
        } catch (CharacterCodingException e) {
            StringBuilder display = new StringBuilder();
            for (byte value : bytes) {
                display.append(hexadecimal(value & 0xff));
            }
            return display.toString();
        }
    }

    /// The id of the token whose text is `text`: an added token, or a token of the vocabulary (a
    /// space is written as a space here).
    public OptionalInt id(String text) {
        Integer id = idOfText.get(text);
        if (id == null) {
            id = idOfSpelled.get(ByteLevel.spell(text));
        }
        return id == null ? OptionalInt.empty() : OptionalInt.of(id);
    }

    private AddedTokens added(List<AddedToken> tokens, Predicate<AddedToken> wanted) {
        return new AddedTokens(
                tokens.stream()
                        .filter(wanted)
                        .map(token ->
                                token.normalized()
                                        ? new AddedToken(
                                                token.id(),
                                                normalize(token.content()),
                                                token.singleWord(),
                                                token.lstrip(),
                                                token.rstrip(),
                                                true,
                                                token.special())
                                        : token)
                        .toList());
    }

    private String normalize(String text) {
        String result = text;
        for (Normalizer.Form form : normalizers) {
            if (form != Normalizer.Form.NFC || !isSurelyNfc(result)) {
                result = Normalizer.normalize(result, form);
            }
        }
        return result;
    }

    private static boolean isSurelyNfc(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) >= FIRST_NOT_NFC) {
                return false;
            }
        }
        return true;
    }

    private static String hexadecimal(int value) {
        return String.format(Locale.ROOT, "<0x%02X>", value);
    }

    /// The ids of one piece.
    private int[] encodePiece(String piece) {
        if (ignoreMerges) {
            Integer id = idOfSpelled.get(ByteLevel.spell(piece));
            if (id != null) {
                return new int[] {id};
            }
        }
        byte[] bytes = utf8(piece);
        int[] ids = new int[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            ids[i] = idOfByte[bytes[i] & 0xff];
        }
        int count = merges.merge(ids, ids.length);
        return count == ids.length ? ids : Arrays.copyOf(ids, count);
    }

    /// `String.getBytes` writes `?` for an unpaired surrogate; U+FFFD is what decoding gives.
    private static byte[] utf8(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (Character.isSurrogate(text.charAt(i))) {
                StringBuilder repaired = new StringBuilder(text.length());
                text.codePoints()
                        .map(codePoint ->
                                codePoint >= Character.MIN_SURROGATE
                                                && codePoint <= Character.MAX_SURROGATE
                                        ? 0xFFFD
                                        : codePoint)
                        .forEach(repaired::appendCodePoint);
                return repaired.toString().getBytes(StandardCharsets.UTF_8);
            }
        }
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /// The way of one text through normaliser, pre-tokenizer and merges.
    private final class Encoding implements AddedTokens.Parts, PreTokenizer.Pieces {
        private final Ids ids;
        private final AddedTokens.Parts afterNormalization =
                new AddedTokens.Parts() {
                    @Override
                    public void text(String text, int begin, int end) {
                        preTokenizer.split(text, begin, end, Encoding.this);
                    }

                    @Override
                    public void token(int id) {
                        ids.add(id);
                    }
                };

        Encoding(Ids ids) {
            this.ids = ids;
        }

        @Override
        public void text(String text, int begin, int end) {
            addedToNormalized.split(normalize(text.substring(begin, end)), afterNormalization);
        }

        @Override
        public void token(int id) {
            ids.add(id);
        }

        @Override
        public void piece(String text, int begin, int end) {
            long key = ShortPieceCache.key(text, begin, end);
            int id = key < 0 ? -1 : shortPieces.get(key);
            if (id >= 0) {
                ids.add(id);
                return;
            }
            int[] more = idsOf(text, begin, end);
            if (key >= 0 && more.length == 1) {
                shortPieces.put(key, more[0]);
            }
            ids.addAll(more);
        }

        private int[] idsOf(String text, int begin, int end) {
            if (end - begin > PieceCache.LONGEST) {
                return encodePiece(text.substring(begin, end));
            }
            int slot = PieceCache.slot(text, begin, end);
            int[] known = pieces.get(slot, text, begin, end);
            if (known == null) {
                String piece = text.substring(begin, end);
                known = encodePiece(piece);
                pieces.put(slot, piece, known);
            }
            return known;
        }
    }

    /// A growing list of ids.
    private static final class Ids {
        private int[] values;
        private int size;

        Ids(int capacity) {
            values = new int[capacity];
        }

        void add(int id) {
            ensure(1);
            values[size++] = id;
        }

        void addAll(int[] more) {
            ensure(more.length);
            for (int id : more) {
                values[size++] = id;
            }
        }

        int[] toArray() {
            return Arrays.copyOf(values, size);
        }

        private void ensure(int more) {
            if (size + more > values.length) {
                values = Arrays.copyOf(values, Math.max(size + more, values.length * 2));
            }
        }
    }
}
