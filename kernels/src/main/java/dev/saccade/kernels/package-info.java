/// Operands and the set of operations of a device.
package dev.saccade.kernels;
