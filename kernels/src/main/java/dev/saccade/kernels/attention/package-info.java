/// Scaled dot-product attention.
package dev.saccade.kernels.attention;
