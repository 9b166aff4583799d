/// Recipes: what a run does, read from YAML and checked before anything is computed.
package dev.saccade.rl.recipe;
