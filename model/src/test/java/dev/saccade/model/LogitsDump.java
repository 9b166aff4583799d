package dev.saccade.model;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.generate.Generator;
import dev.saccade.model.generate.Request;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.image.Pixels;
import dev.saccade.tensor.SafetensorsReader;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// What `compare_transformers.py` runs: a checkpoint's logits for given tokens and pixels, greedy
/// tokens, and the checkpoint saved again in both layouts.
///
/// `CHECKPOINT INPUTS.safetensors cpu|cuda float32|bfloat16 OUT [GREEDY]`: reads `input_ids` I32
/// [T] and, where there are pictures, `pixel_values` F32 [tiles, 3, S, S]; writes
/// OUT/logits.safetensors (F32 [T, V]), OUT/greedy.txt, OUT/native and OUT/remote.
final class LogitsDump {
    private LogitsDump() {}

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Path out = Path.of(arguments[4]);
        int greedy = arguments.length > 5 ? Integer.parseInt(arguments[5]) : 0;
        ComputeType type =
                arguments[3].equals("float32") ? ComputeType.FLOAT32 : ComputeType.BFLOAT16;
        try (Device device = arguments[2].equals("cpu") ? HostDevice.open() : CudaDevice.open(0);
                SafetensorsReader inputs = SafetensorsReader.open(Path.of(arguments[1]))) {
            long start = System.nanoTime();
            try (VisionLanguageModel model =
                    VisionLanguageModel.load(folder, Kernels.of(device), type)) {
                device.synchronize();
                System.out.printf("loaded in %.2f s%n", (System.nanoTime() - start) / 1e9);
                Prompt prompt = prompt(inputs);
                try (Tape tape = Tape.inference(model.kernels())) {
                    PackedBatch batch =
                            PackedBatch.pack(model.config(), List.of(prompt), List.of(new int[0]));
                    Tensor logits =
                            model.logits(
                                    tape,
                                    model.hidden(
                                            tape,
                                            batch,
                                            model.visualTokens(tape, prompt.pixels())));
                    SequencedMap<String, Tensor> written = new LinkedHashMap<>();
                    written.put("logits", logits);
                    SafetensorsWriter.write(out.resolve("logits.safetensors"), Map.of(), written);
                }
                if (greedy > 0) {
                    int[] tokens =
                            new Generator(model)
                                    .generate(
                                            List.of(new Request(prompt, 0)),
                                            new SamplingOptions(0, 0, 1, greedy, new int[0]),
                                            (_, _, _) -> {})
                                    .getFirst()
                                    .tokens();
                    StringBuilder text = new StringBuilder();
                    for (int token : tokens) {
                        text.append(token).append('\n');
                    }
                    java.nio.file.Files.writeString(out.resolve("greedy.txt"), text);
                }
                start = System.nanoTime();
                model.save(out.resolve("native"));
                model.save(out.resolve("remote"), SaveOptions.of(CheckpointLayout.REMOTE_CODE));
                System.out.printf("saved twice in %.2f s%n", (System.nanoTime() - start) / 1e9);
            }
        }
    }

    private static Prompt prompt(SafetensorsReader inputs) {
        int[] tokens = inputs.bytes("input_ids").toArray(ValueLayout.JAVA_INT_UNALIGNED);
        SafetensorsReader.Entry pixels = inputs.entries().get("pixel_values");
        return new Prompt(
                tokens,
                pixels == null
                        ? null
                        : new Pixels(
                                inputs.bytes("pixel_values")
                                        .toArray(ValueLayout.JAVA_FLOAT_UNALIGNED),
                                (int) pixels.shape().dim(0)));
    }
}
