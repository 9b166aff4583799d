/// What CPU kernels share; not part of the API.
package dev.saccade.kernels.internal;
