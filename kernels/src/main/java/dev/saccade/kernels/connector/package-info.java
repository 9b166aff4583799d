/// The connector's first steps: pixel unshuffle, alone and together with the LayerNorm behind it.
package dev.saccade.kernels.connector;
