/// The decoder: Qwen2 with its KV cache.
package dev.saccade.model.language;
