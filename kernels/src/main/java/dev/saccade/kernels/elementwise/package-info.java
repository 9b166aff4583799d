/// Pointwise arithmetic and sums.
package dev.saccade.kernels.elementwise;
