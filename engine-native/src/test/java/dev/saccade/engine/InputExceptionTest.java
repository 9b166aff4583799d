package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

final class InputExceptionTest {

    @Test
    void theMessageIsOneLineWhateverAFileSays() {
        assertThat(new InputException("a.json: \"x\ny\"", "is\t\u0085wrong\u2028", "é中"))
                .hasMessage("a.json: \"x\\u000ay\": is\\u0009\\u0085wrong\\u2028; é中");
    }
}
