/// Generation: batches of requests sampled with one KV cache.
package dev.saccade.model.generate;
