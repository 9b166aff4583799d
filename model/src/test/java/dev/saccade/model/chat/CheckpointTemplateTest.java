package dev.saccade.model.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;

/// Which template a checkpoint's files ask for, and which are refused.
final class CheckpointTemplateTest {
    private static final String LOOP =
            "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' +"
                    + " message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}";

    @TempDir Path folder;

    private void write(String name, String text) throws IOException {
        Files.writeString(folder.resolve(name), text);
    }

    private void config(String text) throws IOException {
        write("config.json", text);
    }

    private void tokenizerConfig(Object template) throws IOException {
        write(
                "tokenizer_config.json",
                JsonMapper.shared().writeValueAsString(Map.of("chat_template", template)));
    }

    private ChatTemplate read() {
        return ChatTemplate.read(folder);
    }

    private void isRefused(String... parts) {
        assertThatThrownBy(this::read)
                .isInstanceOf(InputException.class)
                .hasMessageContainingAll(parts)
                .message()
                .doesNotContain("\n");
    }

    @Test
    void aFamilysOwnTemplateWhereTheFolderHoldsNone() throws IOException {
        config("{\"model_type\": \"internvl\"}");
        assertThat(read()).isEqualTo(ChatTemplate.CHATML);
        config("{\"model_type\": \"internvl_chat\"}");
        assertThat(read()).isEqualTo(ChatTemplate.INTERNVL2_5);
        config("{\"model_type\": \"skywork_chat\"}");
        assertThat(read()).isEqualTo(ChatTemplate.R1V3);
        config("{\"model_type\": \"qwen2\"}");
        assertThat(read()).isEqualTo(ChatTemplate.QWEN2);
        config("{\"model_type\": \"llama\"}");
        isRefused(
                "config.json: models of type \"llama\" have no chat template", "name one of tiny");
    }

    @Test
    void theRemoteCodesTemplateByItsName() throws IOException {
        config("{\"model_type\": \"internvl_chat\", \"template\": \"internvl2_5\"}");
        tokenizerConfig(LOOP + "{% if add_generation_prompt %}{{ 'x' }}{% endif %}");
        assertThat(read()).isEqualTo(ChatTemplate.INTERNVL2_5);
        config("{\"model_type\": \"internvl_chat\", \"template\": \"phi3-chat\"}");
        isRefused("config.json: template is \"phi3-chat\", which is not known", "internvl2_5");
    }

    @Test
    void theRemoteCodesTemplateFromItsFile() throws IOException {
        config("{\"model_type\": \"skywork_chat\", \"template\": \"mine\"}");
        write(
                "conversation.py",
                """
                # Conversation(name='mine') in a comment
                register_conv_template(
                    Conversation(
                        name='other',
                        system_template='<|system|>\\n{system_message}',
                        roles=('<|user|>\\n', '<|assistant|>\\n'),
                        sep='<|end|>',
                    )
                )
                register_conv_template(
                    Conversation(
                        name="mine",
                        system_template='<|im_start|>system\\n{system_message}',
                        # a remark, with a 'quotation'
                        system_message='You are '
                        'a "judge".',
                        roles=('<|im_start|>user\\n', '<|im_start|>assistant\\n<think>\\n'),
                        sep_style=SeparatorStyle.MPT,
                        sep='<|im_end|>\\n',
                    )
                )
                """);
        assertThat(read()).isEqualTo(new ChatTemplate("You are a \"judge\".", "<think>\n"));
        config("{\"model_type\": \"internvl_chat\", \"template\": \"other\"}");
        isRefused("conversation.py: template \"other\" is not ChatML: its separator is another");
        config("{\"model_type\": \"internvl_chat\", \"template\": \"none\"}");
        isRefused("conversation.py: it has no template \"none\"");
    }

    @Test
    void skyworksTokenizerOpensTheThinking() throws IOException {
        config("{\"model_type\": \"skywork_chat\", \"template\": \"internvl2_5\"}");
        tokenizerConfig(
                "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system'"
                        + " %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n'"
                        + " }}{% endif %}"
                        + LOOP
                        + "{% endfor %}{% if add_generation_prompt %}"
                        + "{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}");
        assertThat(read()).isEqualTo(ChatTemplate.R1V3);
    }

    /// The parts of Qwen2.5's template that write something, with its branch for tools.
    @Test
    void aTemplateWithABranchForTools() throws IOException {
        config("{\"model_type\": \"qwen2\"}");
        tokenizerConfig(
                """
                {%- if tools %}
                    {{- '<|im_start|>system\\n' }}
                    {%- if messages[0]['role'] == 'system' %}
                        {{- messages[0]['content'] }}
                    {%- else %}
                        {{- 'You are Q.' }}
                    {%- endif %}
                    {{- "\\n\\n# Tools" }}
                {%- else %}
                    {%- if messages[0]['role'] == 'system' %}
                        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
                    {%- else %}
                        {{- '<|im_start|>system\\nYou are Q.<|im_end|>\\n' }}
                    {%- endif %}
                {%- endif %}
                {%- for message in messages %}
                    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
                {%- endfor %}
                {%- if add_generation_prompt %}
                    {{- '<|im_start|>assistant\\n' }}
                    {%- if enable_thinking is defined and enable_thinking is false %}
                        {{- '<think>\\n\\n</think>\\n\\n' }}
                    {%- endif %}
                {%- endif %}
                """);
        assertThat(read()).isEqualTo(new ChatTemplate("You are Q.", ""));
    }

    @Test
    void aTemplateWrittenAsPlainText() throws IOException {
        config("{\"model_type\": \"internvl\"}");
        write(
                "chat_template.jinja",
                """
                {% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
                {% for message in messages %}
                <|im_start|>{{ message['role'] }}
                {% set content = message['content'].split('</think>')[-1] %}
                {{ content }}<|im_end|>
                {% endfor %}
                {% if add_generation_prompt %}
                  {% if true %}
                <|im_start|>user
                  {% endif %}
                <|im_start|>assistant
                <think>
                {% endif %}
                """);
        assertThat(read())
                .isEqualTo(
                        new ChatTemplate(null, "<think>\n", ChatTemplate.Pictures.BEFORE, false));
    }

    @Test
    void theFileThatTransformersWouldTakeComesFirst() throws IOException {
        config("{\"model_type\": \"internvl\"}");
        tokenizerConfig(
                List.of(
                        Map.of("name", "tool_use", "template", "x"),
                        Map.of("name", "default", "template", jinja(ChatTemplate.QWEN2))));
        assertThat(read()).isEqualTo(ChatTemplate.QWEN2);
        write(
                "chat_template.json",
                JsonMapper.shared()
                        .writeValueAsString(Map.of("chat_template", jinja(ChatTemplate.R1V3))));
        assertThat(read()).isEqualTo(ChatTemplate.R1V3);
        ChatTemplate.TINY.save(folder);
        assertThat(read()).isEqualTo(ChatTemplate.TINY);
    }

    private static String jinja(ChatTemplate template) {
        return JinjaTemplate.write(template);
    }

    @Test
    void whatIsWrittenIsRecognised() {
        for (ChatTemplate template : ChatTemplate.named().values()) {
            assertThat(JinjaTemplate.read(jinja(template), "it")).isEqualTo(template);
        }
        ChatTemplate odd =
                new ChatTemplate(
                        "It's a \"\\n\"\n{{ x }} {% if %}",
                        "<think>\n", ChatTemplate.Pictures.AFTER, false);
        assertThat(JinjaTemplate.read(jinja(odd), "it")).isEqualTo(odd);
    }

    @Test
    void otherTemplatesAreRefusedByWhatTheyDo() throws IOException {
        config("{\"model_type\": \"qwen2\"}");
        String prompt = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
        tokenizerConfig("{% for m in messages %}[INST]{{ m['content'] }}[/INST]{% endfor %}");
        isRefused("tokenizer_config.json: chat_template: ", "it is not ChatML", "name one of");
        tokenizerConfig("{{ bos_token }}" + LOOP + prompt);
        isRefused("writes bos_token");
        tokenizerConfig(LOOP.replace("message['content']", "message['content'] | trim") + prompt);
        isRefused("it trims the turns");
        tokenizerConfig(LOOP);
        isRefused("it never asks for add_generation_prompt");
        tokenizerConfig(LOOP + prompt.replace("assistant", "model"));
        isRefused("does not open the assistant's turn");
        tokenizerConfig(LOOP + prompt.replace("'assistant\\n'", "role"));
        tokenizerConfig(LOOP + "{% if add_generation_prompt %}{{ '<|im_start|>' + r }}{% endif %}");
        isRefused("computes how the assistant's turn opens");
        tokenizerConfig("{% set system_message = 'You are.' %}" + LOOP + prompt);
        isRefused("keeps its system text in a variable");
        String turn = "{{ '<|im_start|>system\\n%s<|im_end|>\\n' }}";
        tokenizerConfig(turn.formatted("A") + turn.formatted("B") + LOOP + prompt);
        isRefused("has several system texts");
        tokenizerConfig(7);
        isRefused("chat_template is neither a text nor a list");
        write("tokenizer_config.json", "{");
        isRefused("tokenizer_config.json: not JSON at line 1");
    }

    @Test
    void brokenTemplatesAreRefusedToo() {
        String whole = jinja(ChatTemplate.QWEN2);
        for (int length = 0; length < whole.length(); length++) {
            String part = whole.substring(0, length);
            try {
                JinjaTemplate.read(part, "it");
            } catch (InputException e) {
                assertThat(e).hasMessageStartingWith("it: ");
            }
        }
        assertThatThrownBy(() -> ConversationFile.template("Conversation(name='x", "x", "it"))
                .isInstanceOf(InputException.class);
        assertThatThrownBy(() -> ConversationFile.template("Conversation(", "x", "it"))
                .isInstanceOf(InputException.class);
    }

    @Test
    void aFolderWithoutAConfiguration() {
        isRefused("config.json: there is no such file");
    }
}
