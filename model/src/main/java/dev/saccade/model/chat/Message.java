package dev.saccade.model.chat;

/// One turn of a conversation.
///
/// @param role who speaks: `system`, `user` or `assistant`
/// @param content what is said; `<image>` stands for a picture
public record Message(String role, String content) {}
