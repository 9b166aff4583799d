/// What a stage does in a step: supervised training and GRPO.
package dev.saccade.rl.stage;
