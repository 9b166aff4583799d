/// Pixel unshuffle, the connector's first step.
package dev.saccade.kernels.connector;
