/// Where a run's numbers go: JSON lines and TensorBoard.
package dev.saccade.rl.metrics;
