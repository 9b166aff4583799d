/// Conversations to prompt text.
package dev.saccade.model.chat;
