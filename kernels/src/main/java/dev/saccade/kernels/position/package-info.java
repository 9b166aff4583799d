/// Rotary positions.
package dev.saccade.kernels.position;
