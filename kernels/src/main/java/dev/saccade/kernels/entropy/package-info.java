/// Log-probability and entropy of a distribution over words.
package dev.saccade.kernels.entropy;
