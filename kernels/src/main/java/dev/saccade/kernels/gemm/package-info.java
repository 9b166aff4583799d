/// The matrix product.
package dev.saccade.kernels.gemm;
