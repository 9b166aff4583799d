import org.jspecify.annotations.NullMarked;

/// Vision-language models: InternViT, the MLP connector and the Qwen2 decoder, their checkpoints,
/// tokenizer, images, chat template and generation.
@NullMarked
module dev.saccade.model {
    requires transitive dev.saccade.tensor;
    requires tools.jackson.databind;
    requires java.desktop;
    requires com.twelvemonkeys.imageio.jpeg;
    requires com.twelvemonkeys.imageio.webp;

    exports dev.saccade.model;
    exports dev.saccade.model.chat;
    exports dev.saccade.model.connector;
    exports dev.saccade.model.generate;
    exports dev.saccade.model.image;
    exports dev.saccade.model.language;
    exports dev.saccade.model.tokenizer;
    exports dev.saccade.model.vision;
}
