package dev.saccade.model.generate;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.sampling.Sampling;
import dev.saccade.model.PackedBatch;
import dev.saccade.model.Prompt;
import dev.saccade.model.TrainingBatch;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The requests that are generated together; request i owns slot i of the cache.
final class Wave {
    /// Prompts are prefilled together up to this many tokens.
    private static final int PREFILL_TOKENS = 8192;

    private final VisionLanguageModel model;
    private final Kernels kernels;
    private final List<Request> requests;
    private final SamplingOptions options;
    private final Sampling.Options sampling;

    /// Greedy decoding reports the distribution as it is.
    private final float temperature;

    private final KvCache cache;
    private final int[][] tokens;
    private final float[][] logProbs;
    private final float[][] entropies;
    private final int[] counts;
    private final @Nullable FinishReason[] reasons;
    private long drawn;
    private int finished;

    Wave(
            VisionLanguageModel model,
            List<Request> requests,
            SamplingOptions options,
            KvCache cache) {
        int count = requests.size();
        this.model = model;
        this.kernels = model.kernels();
        this.requests = requests;
        this.options = options;
        this.sampling = new Sampling.Options(options.temperature(), options.topK(), options.topP());
        this.temperature = options.temperature() == 0 ? 1 : options.temperature();
        this.cache = cache;
        this.tokens = new int[count][16];
        this.logProbs = new float[count][16];
        this.entropies = new float[count][16];
        this.counts = new int[count];
        this.reasons = new FinishReason[count];
    }

    /// Prefills and decodes until every request has finished.
    void run(Progress progress) {
        int[] active = prefill(progress);
        while (active.length > 0) {
            try (Tape tape = Tape.inference(kernels)) {
                draw(tape, active, step(tape, active));
            }
            progress.update(finished, requests.size(), drawn);
            active = unfinished(active);
        }
    }

    /// The completions, after [#run].
    List<Completion> completions() {
        List<Completion> completions = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            FinishReason reason = reasons[i];
            if (reason == null) {
                throw new IllegalStateException("request " + i + " has not finished");
            }
            completions.add(
                    new Completion(
                            Arrays.copyOf(tokens[i], counts[i]),
                            Arrays.copyOf(logProbs[i], counts[i]),
                            Arrays.copyOf(entropies[i], counts[i]),
                            reason));
        }
        return completions;
    }

    /// Tokens drawn so far.
    long tokens() {
        return drawn;
    }

    /// Fills the cache with the prompts and draws every request's first token.
    ///
    /// @return the requests that go on
    private int[] prefill(Progress progress) {
        IdentityHashMap<Prompt, List<Integer>> requestsOf = new IdentityHashMap<>();
        List<Prompt> prompts = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            Prompt prompt = requests.get(i).prompt();
            List<Integer> sharing = requestsOf.get(prompt);
            if (sharing == null) {
                sharing = new ArrayList<>();
                requestsOf.put(prompt, sharing);
                prompts.add(prompt);
            }
            sharing.add(i);
        }
        int from = 0;
        while (from < prompts.size()) {
            int to = from + 1;
            int rows = prompts.get(from).tokens().length;
            while (to < prompts.size()
                    && rows + prompts.get(to).tokens().length <= PREFILL_TOKENS) {
                rows += prompts.get(to++).tokens().length;
            }
            List<Prompt> chunk = prompts.subList(from, to);
            prefill(chunk, chunk.stream().map(requestsOf::get).toList());
            progress.update(finished, requests.size(), drawn);
            from = to;
        }
        int[] all = new int[requests.size()];
        Arrays.setAll(all, i -> i);
        return unfinished(all);
    }

    /// Prefills some prompts, each in the slot of the first request that shares it.
    private void prefill(List<Prompt> prompts, List<List<Integer>> sharing) {
        List<int[]> nothing = prompts.stream().map(_ -> new int[0]).toList();
        PackedBatch batch = PackedBatch.pack(model.config(), prompts, nothing);
        int count = prompts.size();
        int[] start = Arrays.copyOf(batch.cumulative(), count);
        int[] length = new int[count];
        int[] keyStart = new int[count];
        List<Integer> active = new ArrayList<>();
        List<Integer> lastRows = new ArrayList<>();
        for (int p = 0; p < count; p++) {
            length[p] = prompts.get(p).tokens().length;
            keyStart[p] = cache.row(sharing.get(p).getFirst());
            for (int request : sharing.get(p)) {
                active.add(request);
                lastRows.add(start[p] + length[p] - 1);
            }
        }
        try (Tape tape = Tape.inference(kernels)) {
            Tensor visual = model.visualTokens(tape, TrainingBatch.pixels(model.config(), prompts));
            Tensor hidden =
                    model.hidden(
                            tape,
                            batch,
                            visual,
                            new Attention.Sequences(start, length, keyStart, length),
                            cache);
            for (int p = 0; p < count; p++) {
                List<Integer> slots = sharing.get(p);
                for (int slot : slots.subList(1, slots.size())) {
                    cache.copy(slots.getFirst(), slot, length[p]);
                }
            }
            int[] rows = lastRows.stream().mapToInt(Integer::intValue).toArray();
            Tensor last = tape.takeRows(hidden, tape.upload(rows, rows.length));
            draw(tape, active.stream().mapToInt(Integer::intValue).toArray(), last);
        }
    }

    /// The hidden states that predict the next token of the active requests, whose newest token
    /// enters the cache.
    private Tensor step(Tape tape, int[] active) {
        int count = active.length;
        int[] newest = new int[count];
        int[] positions = new int[count];
        int[] cumulative = new int[count + 1];
        int[] queryLength = new int[count];
        int[] keyStart = new int[count];
        int[] keyLength = new int[count];
        for (int i = 0; i < count; i++) {
            int request = active[i];
            newest[i] = tokens[request][counts[request] - 1];
            positions[i] = requests.get(request).prompt().tokens().length + counts[request] - 1;
            cumulative[i + 1] = i + 1;
            queryLength[i] = 1;
            keyStart[i] = cache.row(request);
            keyLength[i] = positions[i] + 1;
        }
        PackedBatch batch = new PackedBatch(newest, positions, cumulative, new int[0], new int[0]);
        Attention.Sequences sequences =
                new Attention.Sequences(
                        Arrays.copyOf(cumulative, count), queryLength, keyStart, keyLength);
        return model.hidden(tape, batch, null, sequences, cache);
    }

    /// Draws a token for each active request from the hidden states [active, hiddenSize].
    private void draw(Tape tape, int[] active, Tensor hidden) {
        int count = active.length;
        int vocab = model.config().text().vocabSize();
        long[] keys = new long[count];
        int[] positions = new int[count];
        for (int i = 0; i < count; i++) {
            keys[i] = requests.get(active[i]).key();
            positions[i] = counts[active[i]];
        }
        Tensor logits = model.logits(tape, hidden);
        Tensor chosen = tape.empty(DType.I32, count);
        Tensor logProb = tape.empty(DType.F32, count);
        Tensor entropy = tape.empty(DType.F32, count);
        kernels.sampling()
                .sample(
                        count,
                        vocab,
                        sampling,
                        logits.span(),
                        model.bannedTokens().span(),
                        tape.upload(keys, count).span(),
                        tape.upload(positions, count).span(),
                        chosen.span());
        kernels.entropy()
                .forward(
                        count,
                        vocab,
                        temperature,
                        logits.span(),
                        chosen.span(),
                        model.bannedTokens().span(),
                        logProb.span(),
                        entropy.span(),
                        null);
        int[] newTokens = chosen.toInts();
        float[] newLogProbs = logProb.toFloats();
        float[] newEntropies = entropy.toFloats();
        for (int i = 0; i < count; i++) {
            append(active[i], newTokens[i], newLogProbs[i], newEntropies[i]);
        }
        drawn += count;
    }

    private void append(int request, int token, float logProb, float entropy) {
        int index = counts[request]++;
        if (index == tokens[request].length) {
            tokens[request] = Arrays.copyOf(tokens[request], 2 * index);
            logProbs[request] = Arrays.copyOf(logProbs[request], 2 * index);
            entropies[request] = Arrays.copyOf(entropies[request], 2 * index);
        }
        tokens[request][index] = token;
        logProbs[request][index] = logProb;
        entropies[request][index] = entropy;
        if (options.stops(token)) {
            reasons[request] = FinishReason.STOP;
            finished++;
        } else if (index + 1 == options.maxNewTokens()) {
            reasons[request] = FinishReason.LENGTH;
            finished++;
        }
    }

    private int[] unfinished(int[] active) {
        return Arrays.stream(active).filter(i -> reasons[i] == null).toArray();
    }
}
