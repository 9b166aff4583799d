package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.model.Checkpoint;
import dev.saccade.model.ComputeType;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.tensor.AtomicFiles;
import dev.saccade.tensor.Shape;
import dev.saccade.tensor.ShardedSafetensors;
import dev.saccade.tensor.TensorContent;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// A text checkpoint of random weights, as large as asked for, made without a model: its tensors
/// have the shapes of Qwen2.5-0.5B's decoder, in as many layers as fill it.
///
/// @param folder where it lies
/// @param config of the model it is
/// @param dtype of its weights: F32 or BF16
record RandomCheckpoint(Path folder, VisionLanguageConfig config, DType dtype) {

    /// Writes one of about `bytes` bytes, in four shards.
    static RandomCheckpoint write(Path folder, DType dtype, long bytes) throws IOException {
        long elements = bytes / dtype.bytes();
        long empty = config(1).parameterCount();
        long perLayer = config(2).parameterCount() - empty;
        VisionLanguageConfig config =
                config((int) Math.max(1, 1 + (elements - empty + perLayer / 2) / perLayer));
        SequencedMap<String, TensorContent> tensors = new LinkedHashMap<>();
        for (ParameterSpecification parameter : config.parameters()) {
            tensors.put(
                    config.defaultLayout().storedName(parameter.name()),
                    new RandomTensor(parameter, dtype));
        }
        ComputeType type = dtype == DType.F32 ? ComputeType.FLOAT32 : ComputeType.BFLOAT16;
        byte[] json = config.toJson(config.defaultLayout(), type).getBytes(StandardCharsets.UTF_8);
        AtomicFiles.writeAll(
                ShardedSafetensors.files(
                        folder,
                        Map.of(),
                        tensors,
                        config.parameterCount() * dtype.bytes() / 4 + (1 << 20)));
        AtomicFiles.write(folder.resolve(Checkpoint.CONFIG), json);
        return new RandomCheckpoint(folder, config, dtype);
    }

    private static VisionLanguageConfig config(int layers) {
        return VisionLanguageConfig.textOnly(
                new LanguageConfig(
                        151_936, 896, 4864, layers, 14, 2, 64, 1e-6f, 1e6, 32_768, true, true),
                List.of());
    }

    /// The files of weights, in the order in which they are loaded.
    List<Path> files() {
        return Checkpoint.weightFiles(folder);
    }

    /// The element `index` of a parameter; exact in BF16.
    float value(String parameter, long index) {
        return Float.intBitsToFloat(bits(parameter.hashCode(), index) << 16);
    }

    /// The upper half of a float between 2^-8 and 2 in size.
    private static int bits(int tensor, long index) {
        long mixed = (index + tensor) * 0x9e3779b97f4a7c15L;
        mixed ^= mixed >>> 29;
        return (int) (mixed & 0x807f) | (119 + (int) (mixed >>> 20 & 7)) << 7;
    }

    private record RandomTensor(ParameterSpecification parameter, DType type)
            implements TensorContent {
        private static final int PIECE = 1 << 18;

        @Override
        public String dtype() {
            return type.name();
        }

        @Override
        public Shape shape() {
            return parameter.shape();
        }

        @Override
        public long bytes() {
            return parameter.shape().elements() * type.bytes();
        }

        @Override
        public void writeTo(OutputStream out) throws IOException {
            int name = parameter.name().hashCode();
            long elements = parameter.shape().elements();
            ByteBuffer piece =
                    ByteBuffer.allocate(PIECE * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
            for (long from = 0; from < elements; from += PIECE) {
                int count = (int) Math.min(PIECE, elements - from);
                piece.clear();
                for (int i = 0; i < count; i++) {
                    int bits = bits(name, from + i);
                    if (type == DType.F32) {
                        piece.putInt(bits << 16);
                    } else {
                        piece.putShort((short) bits);
                    }
                }
                out.write(piece.array(), 0, piece.position());
            }
        }
    }
}
