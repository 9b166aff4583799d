/// The CUDA driver: one interface, and what talks to it. Nothing here leaves the module.
@NullMarked
package dev.saccade.engine.internal.cuda;

import org.jspecify.annotations.NullMarked;
