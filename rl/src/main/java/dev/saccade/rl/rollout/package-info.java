/// From rows to sampled, scored responses.
package dev.saccade.rl.rollout;
