package dev.saccade.rl.run;

import java.time.Duration;
import java.util.Map;

/// Where a run stands after a step.
///
/// @param stage the stage's name
/// @param stageIndex which stage it is, from 0
/// @param stages how many there are
/// @param stageStep the step that is done, from 1
/// @param stageSteps how many the stage has
/// @param step the step that is done, counted over the whole run
/// @param steps how many steps the whole run has
/// @param metrics the step's metrics by name
/// @param elapsed since this process began to work on the run
/// @param remaining an estimate for the rest of the run
public record Progress(
        String stage,
        int stageIndex,
        int stages,
        int stageStep,
        int stageSteps,
        long step,
        long steps,
        Map<String, Double> metrics,
        Duration elapsed,
        Duration remaining) {}
