/// How token losses become one number.
package dev.saccade.rl.loss;
