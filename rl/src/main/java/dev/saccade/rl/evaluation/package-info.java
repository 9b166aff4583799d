/// Evaluation on held-out rows, and the choice of the best checkpoint.
package dev.saccade.rl.evaluation;
