/// The language model's head together with what training asks of its logits.
package dev.saccade.kernels.head;
