package dev.saccade.model;

import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.head.Head;
import dev.saccade.model.connector.Connector;
import dev.saccade.model.image.Pixels;
import dev.saccade.model.internal.LayerStack;
import dev.saccade.model.language.DecodeInputs;
import dev.saccade.model.language.KvCache;
import dev.saccade.model.language.LanguageModel;
import dev.saccade.model.vision.VisionTower;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Shape;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import dev.saccade.tensor.TensorContent;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/// InternViT, connector and Qwen2 decoder: the weights, and the forward pass that training and
/// sampling share. A language model alone is one without the first two.
///
/// A new or loaded model trains as a whole; a part is frozen with [Parameter#trainable(boolean)]. A
/// frozen vision tower runs without being recorded; a frozen decoder computes no weight gradients
/// but hands gradients on to the visual tokens.
public final class VisionLanguageModel implements AutoCloseable {
    /// Memory that a draw may use where it has to store logits; more rows take turns.
    private static final long DRAW_BYTES = 256L << 20;

    private final VisionLanguageConfig config;
    private final Kernels kernels;
    private final ComputeType type;
    private final SequencedMap<String, Parameter> parameters = new LinkedHashMap<>();
    private final Tape constants;
    private final @Nullable VisionTower vision;
    private final @Nullable Connector connector;
    private final LanguageModel language;
    private final Tensor bannedTokens;

    private VisionLanguageModel(VisionLanguageConfig config, Kernels kernels, ComputeType type) {
        type.requireOn(kernels.device());
        this.config = config;
        this.kernels = kernels;
        this.type = type;
        this.constants = Tape.inference(kernels);
        try {
            for (ParameterSpecification specification : config.parameters()) {
                parameters.put(specification.name(), allocate(specification));
            }
            this.bannedTokens = constants.upload(banned(config), config.text().vocabSize());
            VisionConfig tower = config.tower();
            this.vision = tower == null ? null : new VisionTower(tower, this::parameter);
            this.connector = tower == null ? null : new Connector(tower.grid(), this::parameter);
            this.language = new LanguageModel(config.text(), kernels, this::parameter);
        } catch (RuntimeException e) {
            parameters.values().forEach(Parameter::close);
            constants.close();
            throw e;
        }
    }

    private Parameter allocate(ParameterSpecification specification) {
        Parameter parameter =
                new Parameter(
                        specification.name(),
                        specification.group(),
                        kernels,
                        type.dtype(),
                        dims(specification.shape()));
        parameter.trainable(true);
        return specification.decays() ? parameter : parameter.withoutDecay();
    }

    private static long[] dims(Shape shape) {
        long[] dims = new long[shape.rank()];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = shape.dim(i);
        }
        return dims;
    }

    private static byte[] banned(VisionLanguageConfig config) {
        byte[] banned = new byte[config.text().vocabSize()];
        if (config.hasVision()) {
            banned[config.imageTokenId()] = 1;
        }
        for (int token : config.suppressTokens()) {
            banned[token] = 1;
        }
        return banned;
    }

    /// A new model with random weights: matrices normal with std 1/sqrt(fan-in), token embeddings
    /// with std 0.3, class token and positions with std 0.02, biases 0, norms 1, layer scales as
    /// configured.
    ///
    /// @param type of parameters and activations
    /// @param seed the same seed gives the same weights, rounded to `type`
    /// @throws dev.saccade.engine.InputException when the device does not compute in `type`
    public static VisionLanguageModel initialize(
            VisionLanguageConfig config, Kernels kernels, ComputeType type, long seed) {
        VisionLanguageModel model = new VisionLanguageModel(config, kernels, type);
        for (ParameterSpecification specification : config.parameters()) {
            specification.initial().fill(model.parameter(specification.name()), seed);
        }
        return model;
    }

    /// A new model of the device's default type.
    public static VisionLanguageModel initialize(
            VisionLanguageConfig config, Kernels kernels, long seed) {
        return initialize(config, kernels, ComputeType.defaultFor(kernels.device()), seed);
    }

    /// Reads a checkpoint folder: config.json and model.safetensors (or its shards with
    /// model.safetensors.index.json), in any [CheckpointLayout] of a model.
    ///
    /// Weights go to the device as they are read; on the host, no more is held than a few buffers
    /// of a megabyte for each thread that reads.
    ///
    /// @param type of parameters and activations; weights of another type are rounded to it
    /// @throws dev.saccade.engine.InputException when the device does not compute in `type`; or
    ///   naming the file and what is wrong; for tensors that are missing, unexpected, of another
    ///   shape or of a type that isn't loaded, all of them at once and before any memory is
    ///   allocated
    public static VisionLanguageModel load(
            Path folder, Kernels kernels, ComputeType type, LoadProgress progress) {
        type.requireOn(kernels.device());
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            VisionLanguageModel model =
                    new VisionLanguageModel(checkpoint.config().model(), kernels, type);
            try {
                checkpoint.readInto(model.parameters, progress);
                return model;
            } catch (RuntimeException e) {
                model.close();
                throw e;
            }
        }
    }

    /// Reads a checkpoint folder, telling nobody how far it is.
    public static VisionLanguageModel load(Path folder, Kernels kernels, ComputeType type) {
        return load(folder, kernels, type, LoadProgress.NONE);
    }

    /// Reads a checkpoint folder in the device's default type.
    public static VisionLanguageModel load(Path folder, Kernels kernels) {
        return load(folder, kernels, ComputeType.defaultFor(kernels.device()));
    }

    /// Writes a checkpoint into `folder`, which is created where needed, in Hugging Face's own
    /// layout. Each file appears whole or not at all.
    ///
    /// @throws dev.saccade.engine.InputException when the folder can't be written
    public void save(Path folder) {
        save(folder, SaveOptions.DEFAULT);
    }

    /// Writes a checkpoint into `folder`, which is created where needed: config.json and
    /// model.safetensors, or shards with an index. Each file appears whole or not at all, and none
    /// before all are written.
    ///
    /// @throws dev.saccade.engine.InputException when the folder can't be written
    /// @throws IllegalArgumentException when the layout isn't for such a model
    public void save(Path folder, SaveOptions options) {
        CheckpointWriter.write(
                folder,
                config,
                type.label(),
                options,
                name -> TensorContent.of(parameter(name).value()));
    }

    /// The model's shape.
    public VisionLanguageConfig config() {
        return config;
    }

    /// The operations of the model's device.
    public Kernels kernels() {
        return kernels;
    }

    /// The type of parameters and activations.
    public ComputeType type() {
        return type;
    }

    /// All parameters in checkpoint order.
    public List<Parameter> parameters() {
        return List.copyOf(parameters.values());
    }

    /// One part's parameters in checkpoint order.
    public List<Parameter> parameters(ParameterGroup group) {
        return parameters.values().stream().filter(p -> p.group() == group).toList();
    }

    /// Parameters by their checkpoint names.
    public SequencedMap<String, Parameter> parametersByName() {
        return Collections.unmodifiableSequencedMap(parameters);
    }

    private Parameter parameter(String name) {
        Parameter parameter = parameters.get(name);
        if (parameter == null) {
            throw new IllegalArgumentException("no parameter " + name);
        }
        return parameter;
    }

    /// U8 [vocabSize]: 1 where a token is never generated, the image token and the configured ones.
    /// Belongs to the model.
    public Tensor bannedTokens() {
        return bannedTokens;
    }

    /// As [#bannedTokens()], with further tokens banned. Belongs to the tape.
    public Tensor bannedTokens(Tape tape, int[] further) {
        return marked(tape, banned(config), further);
    }

    /// U8 [vocabSize]: 1 at some tokens, 0 at all others. Belongs to the tape.
    public Tensor tokenSet(Tape tape, int[] tokens) {
        return marked(tape, new byte[config.text().vocabSize()], tokens);
    }

    private static Tensor marked(Tape tape, byte[] marks, int[] tokens) {
        for (int token : tokens) {
            if (token < 0 || token >= marks.length) {
                throw new IllegalArgumentException(
                        "token %d of a vocabulary of %d".formatted(token, marks.length));
            }
            marks[token] = 1;
        }
        return tape.upload(marks, marks.length);
    }

    /// The head's weight [vocabSize, hiddenSize].
    public Parameter head() {
        return language.head();
    }

    /// Vision tower, pixel unshuffle and connector. A frozen vision tower is not recorded; where
    /// the connector is frozen too, nothing is.
    ///
    /// @param pixels normalised [tiles, channels, imageSize, imageSize]
    /// @return [tiles * tokensPerTile, hiddenSize of the decoder]
    public Tensor visualTokens(Tape tape, Tensor pixels) {
        VisionTower vision = this.vision;
        Connector connector = this.connector;
        if (vision == null || connector == null) {
            throw new IllegalStateException("a language model alone was given pixels");
        }
        boolean recordVision = LayerStack.records(tape, false, parameters(ParameterGroup.VISION));
        if (recordVision) {
            return connector.forward(tape, vision.forward(tape, pixels, true));
        }
        boolean recordConnector =
                LayerStack.records(tape, false, parameters(ParameterGroup.CONNECTOR));
        if (recordConnector) {
            Tensor patches =
                    LayerStack.withoutRecording(
                            tape, section -> vision.forward(section, pixels, false));
            return connector.forward(tape, patches);
        }
        return LayerStack.withoutRecording(
                tape,
                section -> connector.forward(section, vision.forward(section, pixels, false)));
    }

    /// The visual tokens of tiles in host memory; null for null.
    public @Nullable Tensor visualTokens(Tape tape, @Nullable Pixels pixels) {
        if (pixels == null) {
            return null;
        }
        VisionConfig shape = config.vision();
        return visualTokens(
                tape,
                tape.upload(
                        pixels.values(),
                        pixels.tiles(),
                        shape.numChannels(),
                        shape.imageSize(),
                        shape.imageSize()));
    }

    /// The decoder's hidden states after the final norm.
    ///
    /// @param visual the visual tokens that the batch refers to; null when it has no image rows
    /// @return [T, hiddenSize]
    public Tensor hidden(Tape tape, PackedBatch batch, @Nullable Tensor visual) {
        return hidden(tape, batch, visual, Attention.Sequences.packed(batch.cumulative()), null);
    }

    /// The decoder's hidden states, with a cache: the batch's tokens are appended to the cache as
    /// `sequences` says, see [LanguageModel#forward].
    public Tensor hidden(
            Tape tape,
            PackedBatch batch,
            @Nullable Tensor visual,
            Attention.Sequences sequences,
            @Nullable KvCache cache) {
        int rows = batch.rows();
        Tensor embeddings = language.embed(tape, tape.upload(batch.tokens(), rows));
        int images = batch.imageRows().length;
        if (images > 0) {
            if (visual == null) {
                throw new IllegalArgumentException(
                        "a batch with %d image rows and no visual tokens".formatted(images));
            }
            embeddings =
                    tape.replaceRows(
                            embeddings,
                            tape.upload(batch.imageRows(), images),
                            visual,
                            tape.upload(batch.visualRows(), images));
        }
        return language.forward(
                tape, embeddings, tape.upload(batch.positions(), rows), sequences, cache);
    }

    /// The hidden states of one decode step, see [LanguageModel#decode].
    public Tensor decode(Tape tape, DecodeInputs inputs, KvCache cache) {
        return language.decode(tape, inputs, cache);
    }

    /// Log-probabilities and entropies of tokens, in fp32 over the tokens that are not banned.
    ///
    /// @param hiddenRows [rows, hiddenSize], the hidden states that predict the targets
    /// @param targets I32 [rows]
    /// @param temperature divides the logits
    public Tape.LogProbs logProbs(Tape tape, Tensor hiddenRows, Tensor targets, float temperature) {
        return tape.logProbs(hiddenRows, language.head(), targets, temperature, bannedTokens);
    }

    /// Log-probabilities and entropies of every completion token of a batch, in the order of its
    /// targets: vision tower, connector, decoder and head.
    public Tape.LogProbs logProbs(Tape tape, TrainingBatch batch, float temperature) {
        Tensor hidden = hidden(tape, batch.batch(), visualTokens(tape, batch.pixels()));
        int count = batch.targets().length;
        Tensor rows = tape.takeRows(hidden, tape.upload(batch.predictionRows(), count));
        return logProbs(tape, rows, tape.upload(batch.targets(), count), temperature);
    }

    /// Draws a token for each row of hidden states, with what is kept of it: the bits that
    /// [#logProbs] over the same tokens gives. See [Head#sample].
    ///
    /// @param temperature divides the logits of the distribution that is reported
    /// @param tokens I32 [rows], written
    public void draw(
            Tensor hiddenRows,
            float temperature,
            Head.Draw draw,
            Tensor tokens,
            Entropy.Results results) {
        Head.Input input =
                new Head.Input(
                        hiddenRows.rows(),
                        hiddenRows.width(),
                        config.text().vocabSize(),
                        temperature,
                        hiddenRows.span(),
                        language.head().value().span(),
                        tokens.span(),
                        bannedTokens.span(),
                        DRAW_BYTES);
        kernels.head().sample(input, draw, results);
    }

    /// The logits [rows, vocabSize] of hidden states, for sampling.
    public Tensor logits(Tape tape, Tensor hiddenRows) {
        return tape.logits(hiddenRows, language.head());
    }

    @Override
    public void close() {
        parameters.values().forEach(Parameter::close);
        language.close();
        constants.close();
    }
}
