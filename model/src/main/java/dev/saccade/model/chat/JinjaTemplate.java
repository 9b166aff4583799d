package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Chat templates in Jinja, as transformers keeps them. A template is not run but recognised: if it
/// is ChatML, it differs from others of that kind only in the system text that it puts before a
/// conversation without one, in what follows the opening of the assistant's turn, and in whether
/// earlier answers keep their thinking. These three are read from its literals; everything that
/// would write something else is refused by name. See docs/decisions/chat-templates.md.
final class JinjaTemplate {
    private static final String PICTURES_AFTER = "{#- pictures stand after the text -#}";

    /// A default system turn in one literal.
    private static final Pattern SYSTEM_TURN =
            Pattern.compile(
                    Pattern.quote(ChatTemplate.TURN_BEGIN)
                            + "system\n(.*?)"
                            + Pattern.quote(ChatTemplate.TURN_END),
                    Pattern.DOTALL);

    /// A default system text that is kept in a variable first.
    private static final Pattern SYSTEM_VARIABLE =
            Pattern.compile("set\\s+\\w*system\\w*\\s*=\\s*['\"][^'\"]");

    private static final Pattern LINE_START = Pattern.compile("(?<=\n|^)[ \t]++\\z");

    private static final Pattern TRIM = Pattern.compile("\\|\\s*trim\\b");

    private static final String ASSISTANT = ChatTemplate.TURN_BEGIN + "assistant\n";
    private static final String PROMPT = "add_generation_prompt";

    /// A part of a template: text that is written as it stands, or code.
    ///
    /// @param kind `{` for an expression that is written, `%` for a statement, `t` for text
    private record Piece(char kind, String code) {}

    private final String source;
    private final String jinja;
    private final List<Piece> pieces;

    private JinjaTemplate(String jinja, String source) {
        this.source = source;
        this.jinja = jinja;
        this.pieces = pieces(jinja);
    }

    /// Recognises a template.
    ///
    /// @param source the file's name and the place, for messages
    /// @throws InputException when it is none that can be used, saying why
    static ChatTemplate read(String jinja, String source) {
        return new JinjaTemplate(jinja, source).read();
    }

    private ChatTemplate read() {
        if (!jinja.contains(ChatTemplate.TURN_BEGIN) || !jinja.contains(ChatTemplate.TURN_END)) {
            throw refused("is not ChatML: it writes no <|im_start|> and <|im_end|>");
        }
        for (Piece piece : pieces) {
            if (piece.kind != 't' && piece.code.contains("bos_token")) {
                throw refused("writes bos_token");
            }
            if (piece.kind != 't' && TRIM.matcher(piece.code).find()) {
                throw refused("trims the turns");
            }
        }
        return new ChatTemplate(
                system(),
                generationSuffix(),
                jinja.contains(PICTURES_AFTER)
                        ? ChatTemplate.Pictures.AFTER
                        : ChatTemplate.Pictures.BEFORE,
                pieces.stream()
                        .noneMatch(piece ->
                                piece.kind != 't'
                                        && piece.code.contains("split(")
                                        && piece.code.contains(ChatTemplate.THINKING_END)));
    }

    private @Nullable String system() {
        Set<String> found = new LinkedHashSet<>();
        for (Piece piece : pieces) {
            for (String literal : literals(piece)) {
                Matcher matcher = SYSTEM_TURN.matcher(literal);
                if (matcher.find()) {
                    found.add(matcher.group(1));
                }
            }
            if (piece.kind == '%' && SYSTEM_VARIABLE.matcher(piece.code).find()) {
                throw refused("keeps its system text in a variable");
            }
        }
        if (found.size() > 1) {
            throw refused("has several system texts");
        }
        return found.isEmpty() ? null : found.iterator().next();
    }

    /// What is written where the assistant's turn is opened, without its own conditions.
    private String generationSuffix() {
        int begin = -1;
        for (int i = 0; i < pieces.size(); i++) {
            String code = pieces.get(i).code;
            if (pieces.get(i).kind == '%'
                    && code.startsWith("if ")
                    && code.contains(PROMPT)
                    && !code.contains("not " + PROMPT)) {
                begin = i;
            }
        }
        if (begin < 0) {
            throw refused("never asks for " + PROMPT);
        }
        StringBuilder opening = new StringBuilder();
        int depth = 1;
        for (Piece piece : pieces.subList(begin + 1, pieces.size())) {
            if (piece.kind == '%' && piece.code.startsWith("if ")) {
                depth++;
            } else if (piece.kind == '%' && piece.code.startsWith("endif") && --depth == 0) {
                break;
            } else if (depth == 1 && piece.kind == '%' && piece.code.startsWith("el")) {
                break;
            } else if (depth == 1 && piece.kind != '%') {
                if (piece.kind == '{' && !withoutLiterals(piece.code).matches("[\\s+~]*")) {
                    throw refused("computes how the assistant's turn opens");
                }
                literals(piece).forEach(opening::append);
            }
        }
        if (!opening.toString().startsWith(ASSISTANT)) {
            throw refused("does not open the assistant's turn with <|im_start|>assistant");
        }
        return opening.substring(ASSISTANT.length());
    }

    private InputException refused(String why) {
        return new InputException(
                source,
                "this chat template can't be used: it " + why.replaceFirst("^it ", ""),
                CheckpointTemplate.CURE);
    }

    /// Cuts a template into text and code. White space is dropped as transformers has it: what `-`
    /// drops, the line's end after a statement and the line's spaces before one.
    private static List<Piece> pieces(String jinja) {
        List<Piece> pieces = new ArrayList<>();
        char before = '{';
        boolean trimsStart = false;
        int at = 0;
        while (at < jinja.length()) {
            int open = nextTag(jinja, at);
            String text = jinja.substring(at, open);
            boolean last = open == jinja.length();
            boolean trimsEnd = open + 2 < jinja.length() && jinja.charAt(open + 2) == '-';
            if (trimsStart) {
                text = text.stripLeading();
            } else if (before != '{' && text.startsWith("\n")) {
                text = text.substring(1);
            }
            if (trimsEnd) {
                text = text.stripTrailing();
            } else if (!last && jinja.charAt(open + 1) != '{') {
                text = LINE_START.matcher(text).replaceFirst("");
            }
            if (!text.isEmpty()) {
                pieces.add(new Piece('t', text));
            }
            if (last) {
                break;
            }
            before = jinja.charAt(open + 1);
            int close = endOfTag(jinja, open + 2, before);
            String code = jinja.substring(open + 2, close);
            trimsStart = code.endsWith("-");
            if (before != '#') {
                pieces.add(new Piece(before, code.replaceAll("^[-+]|[-+]$", "").strip()));
            }
            at = Math.min(jinja.length(), close + 2);
        }
        return pieces;
    }

    private static int nextTag(String jinja, int from) {
        for (int at = from; at + 1 < jinja.length(); at++) {
            if (jinja.charAt(at) == '{' && "{%#".indexOf(jinja.charAt(at + 1)) >= 0) {
                return at;
            }
        }
        return jinja.length();
    }

    /// The place of `}}`, `%}` or `#}`, not counting those in literals.
    private static int endOfTag(String jinja, int from, char kind) {
        char closes = kind == '{' ? '}' : kind;
        for (int at = from; at + 1 < jinja.length(); at++) {
            char c = jinja.charAt(at);
            if (kind != '#' && (c == '\'' || c == '"')) {
                at = QuotedText.end(jinja, at);
            } else if (c == closes && jinja.charAt(at + 1) == '}') {
                return at;
            }
        }
        return jinja.length();
    }

    /// What a piece writes for certain: its text, or the literals of its code.
    private static List<String> literals(Piece piece) {
        if (piece.kind == 't') {
            return List.of(piece.code);
        }
        List<String> literals = new ArrayList<>();
        for (int at = 0; at < piece.code.length(); at++) {
            char c = piece.code.charAt(at);
            if (c == '\'' || c == '"') {
                int end = QuotedText.end(piece.code, at);
                literals.add(
                        QuotedText.unescape(
                                piece.code.substring(at + 1, Math.min(end, piece.code.length()))));
                at = end;
            }
        }
        return literals;
    }

    private static String withoutLiterals(String code) {
        StringBuilder rest = new StringBuilder();
        for (int at = 0; at < code.length(); at++) {
            char c = code.charAt(at);
            if (c == '\'' || c == '"') {
                at = QuotedText.end(code, at);
            } else {
                rest.append(c);
            }
        }
        return rest.toString();
    }

    /// The Jinja form of a template, for [#read] and for transformers.
    static String write(ChatTemplate template) {
        String end = QuotedText.quote(ChatTemplate.TURN_END + "\n");
        boolean after = template.pictures() == ChatTemplate.Pictures.AFTER;
        List<String> lines = new ArrayList<>();
        if (after) {
            lines.add(PICTURES_AFTER);
        }
        if (template.system() != null) {
            String turn =
                    ChatTemplate.TURN_BEGIN
                            + "system\n"
                            + template.system()
                            + ChatTemplate.TURN_END
                            + "\n";
            lines.add("{%- if not messages or messages[0]['role'] != 'system' -%}");
            lines.add("{{- " + QuotedText.quote(turn) + " -}}");
            lines.add("{%- endif -%}");
        }
        lines.add("{%- for message in messages -%}");
        lines.add("{{- '<|im_start|>' + message['role'] + '\\n' -}}");
        lines.add("{%- if message['content'] is string -%}");
        if (template.keepsThinking()) {
            lines.add("{{- message['content'] -}}");
        } else {
            lines.add("{%- if message['role'] == 'assistant' -%}");
            lines.add("{{- message['content'].split('</think>')[-1].lstrip('\\n') -}}");
            lines.add("{%- else -%}");
            lines.add("{{- message['content'] -}}");
            lines.add("{%- endif -%}");
        }
        lines.add("{%- else -%}");
        lines.add("{%- for part in message['content'] -%}");
        lines.add("{%- if part['type'] == 'text' -%}");
        lines.add("{{- part['text'] -}}");
        // transformers' processor puts a picture's tokens in this one's place.
        lines.add("{%- elif part['type'] == 'image' -%}");
        lines.add(
                "{{- " + QuotedText.quote(ChatTemplate.IMAGE_TOKEN + (after ? "" : "\n")) + " -}}");
        lines.add("{%- endif -%}");
        lines.add("{%- endfor -%}");
        lines.add("{%- endif -%}");
        lines.add("{{- " + end + " -}}");
        lines.add("{%- endfor -%}");
        lines.add("{%- if add_generation_prompt -%}");
        lines.add("{{- " + QuotedText.quote(ASSISTANT + template.generationSuffix()) + " -}}");
        lines.add("{%- endif -%}");
        return String.join("\n", lines) + "\n";
    }
}
