/// Image files to the normalised tiles that the vision encoder reads.
package dev.saccade.model.image;
