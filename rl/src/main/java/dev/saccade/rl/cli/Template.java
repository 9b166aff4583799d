package dev.saccade.rl.cli;

import dev.saccade.model.chat.ChatTemplate;

/// The chat templates that a user can name.
enum Template {
    /// The quick start's.
    TINY(ChatTemplate.TINY),
    /// Skywork-R1V3's.
    R1V3(ChatTemplate.R1V3);

    final ChatTemplate value;

    Template(ChatTemplate value) {
        this.value = value;
    }
}
