/// LayerNorm and RMSNorm.
package dev.saccade.kernels.norm;
