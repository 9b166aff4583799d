/// AdamW and the gradient's norm.
package dev.saccade.kernels.optimizer;
