/// Runs: their folder, their trainer, what it tells while it works and what it leaves behind.
package dev.saccade.rl.run;
