/// Drawing tokens.
package dev.saccade.kernels.sampling;
