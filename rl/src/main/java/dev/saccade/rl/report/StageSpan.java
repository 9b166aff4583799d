package dev.saccade.rl.report;

/// The steps of a stage.
///
/// @param name its name
/// @param from the step before its first one, over the whole run
/// @param to its last step so far
record StageSpan(String name, long from, long to) {}
