/// Data sets: JSON lines in verl's schema, read and checked once.
package dev.saccade.rl.data;
