package dev.saccade.model.tokenizer;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/// Turns ids that arrive one by one into text. A character whose bytes lie in several tokens
/// appears when its last byte has come, so the parts put together are what [Tokenizer#decode] gives
/// for all ids at once. Made by [Tokenizer#streamingDecoder].
public final class StreamingDecoder {
    private final Tokenizer tokenizer;
    private final CharsetDecoder decoder =
            StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPLACE)
                    .onUnmappableCharacter(CodingErrorAction.REPLACE);

    /// The bytes of a character not complete yet.
    private byte[] waiting = new byte[0];

    StreamingDecoder(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /// Takes the next id; returns the text that is certain by now, often one token's, sometimes
    /// none.
    public String accept(int id) {
        return decode(tokenizer.bytes(id), false);
    }

    /// What is left at the end: U+FFFD for a character that was never completed. Afterwards the
    /// decoder is ready for another text.
    public String finish() {
        String rest = decode(new byte[0], true);
        decoder.reset();
        return rest;
    }

    private String decode(byte[] bytes, boolean last) {
        ByteBuffer in = ByteBuffer.allocate(waiting.length + bytes.length);
        in.put(waiting).put(bytes).flip();
        CharBuffer out = CharBuffer.allocate(in.remaining() + 1);
        decoder.decode(in, out, last);
        if (last) {
            decoder.flush(out);
        }
        waiting = new byte[in.remaining()];
        in.get(waiting);
        return out.flip().toString();
    }
}
