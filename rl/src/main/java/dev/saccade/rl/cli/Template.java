package dev.saccade.rl.cli;

import dev.saccade.model.chat.ChatTemplate;

/// The chat templates that a user can name.
enum Template {
    /// The quick start's.
    TINY,
    /// Skywork-R1V3's.
    R1V3;

    /// The template itself.
    ChatTemplate value() {
        return switch (this) {
            case TINY -> ChatTemplate.TINY;
            case R1V3 -> ChatTemplate.R1V3;
        };
    }
}
