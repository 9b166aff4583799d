/// The MLP between the vision tower and the decoder.
package dev.saccade.model.connector;
