package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// The `conversation.py` beside a remote-code checkpoint: a list of `Conversation(name=..,
/// system_template=.., system_message=.., roles=(.., ..), sep=..)`. The literals of the one that is
/// asked for are read; nothing is run.
final class ConversationFile {
    static final String NAME = "conversation.py";

    private static final String SYSTEM = ChatTemplate.TURN_BEGIN + "system\n";
    private static final String USER = ChatTemplate.TURN_BEGIN + "user\n";
    private static final String ASSISTANT = ChatTemplate.TURN_BEGIN + "assistant\n";

    private final String source;
    private final String name;
    private final String call;

    private ConversationFile(String source, String name, String call) {
        this.source = source;
        this.name = name;
        this.call = call;
    }

    /// The template of a name.
    ///
    /// @param file the file's text
    /// @param source the file's name, for messages
    /// @throws InputException when it has none of that name, or one of another form than ChatML
    static ChatTemplate template(String file, String name, String source) {
        String python = withoutComments(file);
        Matcher start = Pattern.compile("\\bConversation\\(").matcher(python);
        int from = 0;
        while (start.find(from)) {
            int end = endOfCall(python, start.end());
            String call = python.substring(start.end(), end);
            ConversationFile conversation = new ConversationFile(source, name, call);
            if (conversation.literals("name").equals(List.of(name))) {
                return conversation.read();
            }
            from = end;
        }
        throw new InputException(
                source, "it has no template \"%s\"".formatted(name), CheckpointTemplate.CURE);
    }

    private ChatTemplate read() {
        require(one("sep").equals(ChatTemplate.TURN_END + "\n"), "its separator is another");
        require(
                one("system_template").equals(SYSTEM + "{system_message}"),
                "its system turn is another");
        List<String> roles = literals("roles");
        require(
                roles.size() == 2
                        && roles.get(0).equals(USER)
                        && roles.get(1).startsWith(ASSISTANT),
                "its roles are others");
        List<String> message = literals("system_message");
        return new ChatTemplate(
                message.isEmpty() ? "" : message.getFirst(),
                roles.get(1).substring(ASSISTANT.length()));
    }

    private String one(String key) {
        List<String> values = literals(key);
        return values.size() == 1 ? values.getFirst() : "";
    }

    private void require(boolean holds, String what) {
        if (!holds) {
            throw new InputException(
                    source,
                    "template \"%s\" is not ChatML: %s".formatted(name, what),
                    CheckpointTemplate.CURE);
        }
    }

    /// The texts of an argument: one, or those of a tuple; neighbouring literals are one text, as
    /// in Python. None where there is no such argument or it is something else.
    private List<String> literals(String key) {
        List<String> texts = new ArrayList<>();
        Matcher matcher = Pattern.compile("(?m)(?:^|[\\s,(])" + key + "\\s*=\\s*").matcher(call);
        if (!matcher.find()) {
            return texts;
        }
        int at = matcher.end();
        boolean tuple = at < call.length() && call.charAt(at) == '(';
        boolean joins = false;
        for (at += tuple ? 1 : 0; at < call.length(); at++) {
            char c = call.charAt(at);
            if (c == '\'' || c == '"') {
                int end = QuotedText.end(call, at);
                String text = QuotedText.unescape(call.substring(at + 1, end));
                if (joins) {
                    texts.add(texts.removeLast() + text);
                } else {
                    texts.add(text);
                }
                joins = true;
                at = end;
            } else if (c == ',' && tuple) {
                joins = false;
            } else if (!Character.isWhitespace(c)) {
                break;
            }
        }
        return texts;
    }

    /// The place of the parenthesis that closes a call, or the end of the text.
    private static int endOfCall(String python, int begin) {
        int depth = 1;
        for (int at = begin; at < python.length(); at++) {
            switch (python.charAt(at)) {
                case '(' -> depth++;
                case ')' -> {
                    if (--depth == 0) {
                        return at;
                    }
                }
                case '\'', '"' -> at = QuotedText.end(python, at);
                default -> {}
            }
        }
        return python.length();
    }

    private static String withoutComments(String python) {
        StringBuilder code = new StringBuilder(python.length());
        for (int at = 0; at < python.length(); at++) {
            char c = python.charAt(at);
            if (c == '#') {
                int end = python.indexOf('\n', at);
                at = end < 0 ? python.length() : end - 1;
            } else if (c == '\'' || c == '"') {
                int end = QuotedText.end(python, at);
                code.append(python, at, Math.min(end + 1, python.length()));
                at = end;
            } else {
                code.append(c);
            }
        }
        return code.toString();
    }
}
