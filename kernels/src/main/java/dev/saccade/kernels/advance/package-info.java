/// What moves a recorded decode step from one position to the next.
package dev.saccade.kernels.advance;
