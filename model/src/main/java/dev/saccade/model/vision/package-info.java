/// The vision tower: InternViT.
package dev.saccade.model.vision;
