/// What the towers share.
package dev.saccade.model.internal;
