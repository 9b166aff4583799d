/// The entropy of tokens, and of those where reasoning takes a turn.
package dev.saccade.rl.entropy;
