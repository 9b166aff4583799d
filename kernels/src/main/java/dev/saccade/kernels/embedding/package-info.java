/// Rows by index.
package dev.saccade.kernels.embedding;
