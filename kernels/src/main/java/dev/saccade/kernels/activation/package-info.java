/// Pointwise non-linearities.
package dev.saccade.kernels.activation;
