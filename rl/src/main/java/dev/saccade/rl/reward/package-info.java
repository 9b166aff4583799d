/// Rewards: from a response to a number, safely.
package dev.saccade.rl.reward;
