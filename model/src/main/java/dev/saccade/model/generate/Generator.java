package dev.saccade.model.generate;

import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Samples completions for many requests at once. Each distinct prompt object is prefilled once,
/// and the requests that have it share its keys and values; then every step draws one token for
/// each unfinished request, and finished ones leave the batch. Where it pays, a step reads what
/// requests share once for all of them.
///
/// A completion depends on the model, its prompt, its key, its guide and the options, and on
/// nothing else: not on the other requests, their order or the number of workers. The
/// log-probabilities and entropies have the bits of [VisionLanguageModel#logProbs] over the same
/// tokens at the same temperature, whatever filters, bans, penalties and guides had a part in
/// choosing the tokens, and whatever tokens are watched.
///
/// Requests are served in waves, in order. A wave takes as many requests as fit the memory bound,
/// counting the pages with the keys and values of each prompt once, for each request those of up to
/// [SamplingOptions#maxNewTokens], two rows of logits, and another with a mark for each word where
/// repetitions are penalised; at least one.
public final class Generator {
    /// The memory bound of [#Generator(VisionLanguageModel)]: 1 GiB.
    public static final long DEFAULT_WAVE_BYTES = 1L << 30;

    private final VisionLanguageModel model;
    private final long waveBytes;
    private final long sharingBytes;

    /// A generator with waves of at most [#DEFAULT_WAVE_BYTES].
    public Generator(VisionLanguageModel model) {
        this(model, DEFAULT_WAVE_BYTES);
    }

    /// @param waveBytes the memory bound of a wave's keys, values and logits, in bytes
    public Generator(VisionLanguageModel model, long waveBytes) {
        this(model, waveBytes, SharedPrompts.leastBytes(model.kernels().device()));
    }

    /// @param sharingBytes see [SharedPrompts]; it shows in no completion
    Generator(VisionLanguageModel model, long waveBytes, long sharingBytes) {
        this.model = model;
        this.waveBytes = waveBytes;
        this.sharingBytes = sharingBytes;
    }

    /// Samples one completion for each request.
    ///
    /// @return the completions in the order of the requests
    /// @throws InputException when a prompt and its completion would be longer than the model's
    ///   positions
    public List<Completion> generate(
            List<Request> requests, SamplingOptions options, Progress progress) {
        return generate(requests, options, null, progress);
    }

    /// Samples one completion for each request, each followed by a guide.
    ///
    /// @param guides one for each request; null where nobody guides them
    /// @return the completions in the order of the requests
    /// @throws InputException when a prompt and its completion would be longer than the model's
    ///   positions
    public List<Completion> generate(
            List<Request> requests,
            SamplingOptions options,
            @Nullable List<? extends Guide> guides,
            Progress progress) {
        if (guides != null && guides.size() != requests.size()) {
            throw new IllegalArgumentException(
                    "%d guides for %d requests".formatted(guides.size(), requests.size()));
        }
        int positions = model.config().text().maxPositionEmbeddings();
        for (int i = 0; i < requests.size(); i++) {
            int length = requests.get(i).prompt().tokens().length;
            if (length + (long) options.maxNewTokens() > positions) {
                throw new InputException(
                        "request " + i,
                        "a prompt of %d tokens and up to %d new ones exceed the model's %d positions"
                                .formatted(length, options.maxNewTokens(), positions),
                        "shorten the prompt or lower the number of new tokens");
            }
        }
        try (Tape constants = Tape.inference(model.kernels())) {
            Tensor banned =
                    options.bannedTokens().length == 0
                            ? model.bannedTokens()
                            : model.bannedTokens(constants, options.bannedTokens());
            Tensor watched =
                    options.watchedTokens().length == 0
                            ? null
                            : model.tokenSet(constants, options.watchedTokens());
            DrawRules rules = new DrawRules(options, banned, watched, guides != null);
            return generateWaves(requests, rules, guides, progress);
        }
    }

    private List<Completion> generateWaves(
            List<Request> requests,
            DrawRules rules,
            @Nullable List<? extends Guide> guides,
            Progress progress) {
        SamplingOptions options = rules.options();
        List<Completion> completions = new ArrayList<>(requests.size());
        long tokens = 0;
        while (completions.size() < requests.size()) {
            int done = completions.size();
            long before = tokens;
            CachePlan plan = nextWave(requests, done, options);
            int count = plan.requests().size();
            @Nullable List<Guide> waveGuides =
                    guides == null ? null : List.copyOf(guides.subList(done, done + count));
            try (KvCache cache =
                    new KvCache(
                            model.kernels().device(),
                            model.config().text(),
                            model.type().dtype(),
                            plan.pages())) {
                Wave wave = new Wave(model, plan, rules, waveGuides, cache, sharingBytes);
                wave.run((finished, _, drawn) ->
                        progress.update(done + finished, requests.size(), before + drawn));
                completions.addAll(wave.completions());
                tokens += wave.tokens();
            }
        }
        return completions;
    }

    private CachePlan nextWave(List<Request> requests, int from, SamplingOptions options) {
        LanguageConfig text = model.config().text();
        long bytesPerPage = KvCache.bytesPerPage(text, model.type().dtype());
        long bytesPerWord =
                options.penalises() ? 3L * DType.F32.bytes() + 1 : 2L * DType.F32.bytes();
        long logitsBytes = bytesPerWord * text.vocabSize();
        CachePlan plan = new CachePlan(options.maxNewTokens());
        for (Request request : requests.subList(from, requests.size())) {
            int count = plan.requests().size();
            long pages = plan.pages() + (long) plan.pagesFor(request);
            boolean fits =
                    pages * bytesPerPage + (count + 1L) * logitsBytes <= waveBytes
                            && pages * Attention.PAGE <= Integer.MAX_VALUE;
            if (count > 0 && !fits) {
                break;
            }
            plan.add(request);
        }
        return plan;
    }
}
