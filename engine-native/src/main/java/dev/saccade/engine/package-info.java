/// Devices, their memory and their workers.
package dev.saccade.engine;
