/// Vision-language models: configuration, weights, batches.
package dev.saccade.model;
