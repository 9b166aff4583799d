package dev.saccade.model.tokenizer;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Finds added tokens in text, the leftmost first and of those the longest, by a trie over their
/// characters.
final class AddedTokens {
    private static final Pattern WORD = Pattern.compile("\\w", Pattern.UNICODE_CHARACTER_CLASS);

    /// Receives a text's parts in order.
    interface Parts {
        /// `text[begin, end)` holds no added token; it is not empty.
        void text(String text, int begin, int end);

        /// An added token was found.
        void token(int id);
    }

    private static final class Node {
        final Map<Character, Node> children = new HashMap<>();
        @Nullable AddedToken token;
    }

    private final Node root = new Node();

    /// Whether a token can start with this character, for the characters that text is made of.
    private final boolean[] starts = new boolean[128];

    /// @param tokens the tokens to find, with their contents as they appear in the text
    AddedTokens(List<AddedToken> tokens) {
        for (AddedToken token : tokens) {
            Node node = root;
            for (char character : token.content().toCharArray()) {
                node = node.children.computeIfAbsent(character, _ -> new Node());
            }
            node.token = token;
            if (!token.content().isEmpty() && token.content().charAt(0) < starts.length) {
                starts[token.content().charAt(0)] = true;
            }
        }
    }

    /// Cuts `text` into the added tokens in it and what lies between.
    void split(String text, Parts parts) {
        int textBegin = 0; // where the text not yet handed on begins
        int position = root.children.isEmpty() ? text.length() : 0;
        while (position < text.length()) {
            AddedToken token = longestAt(text, position);
            if (token == null) {
                position++;
                continue;
            }
            int begin = position;
            int end = position + token.content().length();
            position = end;
            if (token.singleWord() && (isWordBefore(text, begin) || isWordAt(text, end))) {
                continue;
            }
            if (token.lstrip()) {
                while (begin > textBegin && isWhiteSpace(text.charAt(begin - 1))) {
                    begin--;
                }
            }
            if (token.rstrip()) {
                while (end < text.length() && isWhiteSpace(text.charAt(end))) {
                    end++;
                }
            }
            if (begin > textBegin) {
                parts.text(text, textBegin, begin);
            }
            parts.token(token.id());
            textBegin = end;
            position = end;
        }
        if (textBegin < text.length()) {
            parts.text(text, textBegin, text.length());
        }
    }

    private @Nullable AddedToken longestAt(String text, int position) {
        char first = text.charAt(position);
        if (first < starts.length && !starts[first]) {
            return null;
        }
        AddedToken longest = null;
        Node node = root;
        for (int i = position; i < text.length(); i++) {
            Node child = node.children.get(text.charAt(i));
            if (child == null) {
                break;
            }
            node = child;
            if (node.token != null) {
                longest = node.token;
            }
        }
        return longest;
    }

    private static boolean isWhiteSpace(char character) {
        return CharacterClass.of(character) == CharacterClass.SPACE
                || CharacterClass.of(character) == CharacterClass.NEWLINE;
    }

    private static boolean isWordBefore(String text, int end) {
        return end > 0 && isWord(text.codePointBefore(end));
    }

    private static boolean isWordAt(String text, int begin) {
        return begin < text.length() && isWord(text.codePointAt(begin));
    }

    private static boolean isWord(int codePoint) {
        return WORD.matcher(Character.toString(codePoint)).matches();
    }
}
