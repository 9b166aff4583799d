/// NVIDIA's own libraries as peers of the kernels: cuBLASLt and cuDNN through the Foreign Function
/// & Memory API, cuBLAS and cuDNN through JCuda. Outside the engine, this is the one place that
/// calls native code; nothing of it is needed to train.
package dev.saccade.bench.peer;
