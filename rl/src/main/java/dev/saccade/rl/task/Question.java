package dev.saccade.rl.task;

/// A question about a picture.
///
/// @param subject what it is about
/// @param text the question
/// @param work what follows from the digits once they are read, up to the answer: `4+5=9.`
/// @param answer the right answer
record Question(Subject subject, String text, String work, String answer) {}
