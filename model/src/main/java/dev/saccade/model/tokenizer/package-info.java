/// Text to token ids and back: byte-level BPE as Hugging Face's `tokenizer.json` describes it.
package dev.saccade.model.tokenizer;
