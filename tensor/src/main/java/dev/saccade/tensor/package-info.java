/// Tensors, the tape that differentiates operations on them, parameters, the optimiser, and
/// safetensors files.
package dev.saccade.tensor;
