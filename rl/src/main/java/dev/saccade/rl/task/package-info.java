/// The quick start's task: questions about pictures of real handwritten digits.
package dev.saccade.rl.task;
