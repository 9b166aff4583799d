/// Losses on log-probabilities.
package dev.saccade.kernels.loss;
