package dev.saccade.rl.run;

import dev.saccade.tensor.SafetensorsReader;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/// The tensors of a checkpoint as bytes.
final class Weights {
    private Weights() {}

    static Map<String, byte[]> of(Path checkpoint) {
        Map<String, byte[]> weights = new TreeMap<>();
        try (SafetensorsReader reader =
                SafetensorsReader.open(checkpoint.resolve("model.safetensors"))) {
            for (String name : reader.entries().keySet()) {
                weights.put(name, reader.bytes(name).toArray(ValueLayout.JAVA_BYTE));
            }
        }
        return weights;
    }
}
