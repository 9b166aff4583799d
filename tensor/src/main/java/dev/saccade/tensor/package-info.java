/// Tensors, automatic differentiation, parameters, optimisation, safetensors.
package dev.saccade.tensor;
