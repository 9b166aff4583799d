/// What kernels share, on the CPU and on CUDA; not part of the API.
package dev.saccade.kernels.internal;
