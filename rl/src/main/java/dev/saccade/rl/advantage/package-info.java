/// Advantages: what a response's reward is worth beside the others of its prompt.
package dev.saccade.rl.advantage;
