/// The ViT's patch embedding.
package dev.saccade.kernels.patch;
