package dev.saccade.model.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.util.List;
import org.junit.jupiter.api.Test;

final class ChatTemplateTest {

    @Test
    void aTinyPromptHasNoSystemTurnAndOpensTheThinking() {
        assertThat(
                        ChatTemplate.TINY.render(
                                List.of(new Message("user", "What is the sum?<image>")),
                                new int[] {4},
                                true))
                .isEqualTo(
                        "<|im_start|>user\nWhat is the sum?<img>"
                                + "<IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>"
                                + "<|im_end|>\n<|im_start|>assistant\n<think>");
    }

    @Test
    void aLargeModelsPromptBeginsWithItsSystemText() {
        assertThat(ChatTemplate.R1V3.render(List.of(new Message("user", "Hi")), true))
                .isEqualTo(
                        """
                        <|im_start|>system
                        You are a helpful assistant.<|im_end|>
                        <|im_start|>user
                        Hi<|im_end|>
                        <|im_start|>assistant
                        <think>
                        """);
    }

    @Test
    void aConversationsOwnSystemTurnReplacesTheDefault() {
        List<Message> messages =
                List.of(
                        new Message("system", "Be brief."),
                        new Message("user", "Hi"),
                        new Message("assistant", "Hello"),
                        new Message("user", "Bye"));
        assertThat(ChatTemplate.R1V3.render(messages, false))
                .isEqualTo(
                        """
                        <|im_start|>system
                        Be brief.<|im_end|>
                        <|im_start|>user
                        Hi<|im_end|>
                        <|im_start|>assistant
                        Hello<|im_end|>
                        <|im_start|>user
                        Bye<|im_end|>
                        """);
    }

    @Test
    void picturesTakeTheirPlacesInOrder() {
        List<Message> messages =
                List.of(
                        new Message("user", "<image>\n<image>\nCompare."),
                        new Message("user", "And <image>?"));
        assertThat(ChatTemplate.TINY.render(messages, new int[] {1, 2, 3}, false))
                .isEqualTo(
                        "<|im_start|>user\n<img><IMG_CONTEXT></img>\n"
                                + "<img><IMG_CONTEXT><IMG_CONTEXT></img>\nCompare.<|im_end|>\n"
                                + "<|im_start|>user\nAnd <img><IMG_CONTEXT><IMG_CONTEXT>"
                                + "<IMG_CONTEXT></img>?<|im_end|>\n");
    }

    @Test
    void asManyPlaceholdersAsPictures() {
        List<Message> one = List.of(new Message("user", "<image>"));
        assertThatThrownBy(() -> ChatTemplate.TINY.render(one, true))
                .isInstanceOf(InputException.class)
                .hasMessage(
                        "the prompt: has 1 <image> for 0 pictures; write <image> once for each"
                                + " picture");
        assertThatThrownBy(() -> ChatTemplate.TINY.render(one, new int[] {4, 4}, true))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("1 <image> for 2 pictures");
    }

    @Test
    void anUnknownRoleIsRefused() {
        assertThatThrownBy(() -> ChatTemplate.TINY.render(List.of(new Message("tool", "x")), true))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("role \"tool\"");
    }

    @Test
    void picturesThatATextDoesNotPlaceGoWhereTheTemplateSays() {
        assertThat(ChatTemplate.R1V3.withPictures("user", "Compare.", 2).content())
                .isEqualTo("<image>\n<image>\nCompare.");
        assertThat(ChatTemplate.TINY.withPictures("user", "Sum?", 1).content())
                .isEqualTo("Sum?<image>");
        assertThat(ChatTemplate.R1V3.withPictures("user", "A <image> here.", 1).content())
                .isEqualTo("A <image> here.");
        assertThatThrownBy(() -> ChatTemplate.R1V3.withPictures("user", "A <image>.", 2))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("1 <image> for 2 pictures");
        assertThatThrownBy(() -> ChatTemplate.R1V3.withPictures("user", "A <image>.", 0))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("1 <image> for 0 pictures");
    }

    @Test
    void thinkingIsOpenedOrNot() {
        assertThat(ChatTemplate.R1V3.with(Thinking.SLOW)).isEqualTo(ChatTemplate.R1V3);
        assertThat(ChatTemplate.R1V3.with(Thinking.NOWAIT)).isEqualTo(ChatTemplate.R1V3);
        assertThat(ChatTemplate.R1V3.with(Thinking.NONE).generationSuffix()).isEmpty();
        assertThat(ChatTemplate.TINY.with(Thinking.SLOW).generationSuffix()).isEqualTo("<think>");
        assertThat(ChatTemplate.INTERNVL2_5.with(Thinking.SLOW).generationSuffix())
                .isEqualTo("<think>\n");
        assertThat(ChatTemplate.INTERNVL2_5.with(Thinking.SLOW).system())
                .isEqualTo(ChatTemplate.INTERNVL2_5.system());
    }

    @Test
    void earlierThinkingIsKeptOrLeftOut() {
        List<Message> messages =
                List.of(
                        new Message("user", "Hi</think>"),
                        new Message("assistant", "<think>\nHm.</think>\n\nHello"),
                        new Message("assistant", "Plain"));
        ChatTemplate drops =
                new ChatTemplate(null, "<think>\n", ChatTemplate.Pictures.BEFORE, false);
        assertThat(drops.render(messages, false))
                .isEqualTo(
                        "<|im_start|>user\nHi</think><|im_end|>\n"
                                + "<|im_start|>assistant\nHello<|im_end|>\n"
                                + "<|im_start|>assistant\nPlain<|im_end|>\n");
        assertThat(ChatTemplate.CHATML.render(messages, false))
                .contains("assistant\n<think>\nHm.</think>\n\nHello<|im_end|>");
    }
}
