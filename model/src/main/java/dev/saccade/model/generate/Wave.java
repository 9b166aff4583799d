package dev.saccade.model.generate;

import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.PackedBatch;
import dev.saccade.model.Prompt;
import dev.saccade.model.TrainingBatch;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.language.KvCache;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The requests that are generated together.
final class Wave {
    /// Prompts are prefilled together up to this many tokens.
    private static final int PREFILL_TOKENS = 8192;

    private final VisionLanguageModel model;
    private final Kernels kernels;
    private final List<Request> requests;
    private final DrawRules rules;
    private final SamplingOptions options;
    private final @Nullable List<Guide> guides;
    private final CachePlan plan;
    private final KvCache cache;
    private final long sharingBytes;
    private final int[][] tokens;
    private final float[][] logProbs;
    private final float[][] entropies;
    private final float[][] masses;
    private final int[] counts;
    private final int[] forced;
    private final @Nullable FinishReason[] reasons;
    private long drawn;
    private int finished;

    /// @param plan the requests, and where they lie in the cache
    /// @param guides of the requests; null where nobody guides them
    /// @param sharingBytes see [SharedPrompts]
    Wave(
            VisionLanguageModel model,
            CachePlan plan,
            DrawRules rules,
            @Nullable List<Guide> guides,
            KvCache cache,
            long sharingBytes) {
        List<Request> requests = plan.requests();
        int count = requests.size();
        this.model = model;
        this.kernels = model.kernels();
        this.requests = requests;
        this.rules = rules;
        this.options = rules.options();
        this.guides = guides;
        this.plan = plan;
        this.cache = cache;
        this.sharingBytes = sharingBytes;
        this.tokens = new int[count][16];
        this.logProbs = new float[count][16];
        this.entropies = new float[count][16];
        this.masses = new float[count][16];
        this.counts = new int[count];
        this.reasons = new FinishReason[count];
        this.forced = new int[count];
        Arrays.setAll(forced, i -> guides == null ? Draws.FREE : forced(guides.get(i).begin()));
    }

    private static int forced(Guide.Next next) {
        return next instanceof Guide.Force(int token) ? token : Draws.FREE;
    }

    /// Prefills and decodes until every request has finished.
    void run(Progress progress) {
        int[] active = prefill(progress);
        while (active.length > 0) {
            active = decode(active, progress);
        }
    }

    /// Decodes a batch until so many of its requests have finished that a smaller one is due.
    ///
    /// @return the requests that go on
    private int[] decode(int[] batch, Progress progress) {
        DecodeStep.Row[] rows = new DecodeStep.Row[batch.length];
        Arrays.setAll(rows, i -> row(batch[i]));
        int[] active = batch;
        try (DecodeStep step =
                new DecodeStep(model, rules, cache, rows, seen(batch), sharingBytes)) {
            while (active.length > 0 && step.fits(active.length)) {
                append(batch, step.run(forced(batch)));
                progress.update(finished, requests.size(), drawn);
                active = unfinished(batch);
            }
        }
        return active;
    }

    /// Which tokens each request of a batch has in its prompt or has drawn: what a repetition
    /// penalty needs, null without one.
    private byte @Nullable [] seen(int[] batch) {
        if (!options.penalises()) {
            return null;
        }
        int vocab = model.config().text().vocabSize();
        byte[] seen = new byte[Math.multiplyExact(batch.length, vocab)];
        for (int i = 0; i < batch.length; i++) {
            for (int token : requests.get(batch[i]).prompt().tokens()) {
                seen[i * vocab + token] = 1;
            }
            for (int drawnToken = 0; drawnToken < counts[batch[i]]; drawnToken++) {
                seen[i * vocab + tokens[batch[i]][drawnToken]] = 1;
            }
        }
        return seen;
    }

    /// The tokens that are forced on a batch's requests now.
    private int[] forced(int[] batch) {
        int[] of = new int[batch.length];
        Arrays.setAll(of, i -> forced[batch[i]]);
        return of;
    }

    private DecodeStep.Row row(int request) {
        int drawnTokens = counts[request];
        Request asked = requests.get(request);
        int position = asked.prompt().tokens().length + drawnTokens - 1;
        return new DecodeStep.Row(
                tokens[request][drawnTokens - 1],
                position,
                plan.row(request, position),
                plan.table(request),
                plan.owner(request),
                plan.sharedPages(request),
                asked.key(),
                drawnTokens);
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
                            Arrays.copyOf(masses[i], rules.watched() == null ? 0 : counts[i]),
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
        // By the first request of each prompt.
        Map<Integer, List<Integer>> requestsOf = new LinkedHashMap<>();
        for (int i = 0; i < requests.size(); i++) {
            requestsOf.computeIfAbsent(plan.owner(i), _ -> new ArrayList<>()).add(i);
        }
        List<List<Integer>> sharing = List.copyOf(requestsOf.values());
        List<Prompt> prompts =
                sharing.stream().map(some -> requests.get(some.getFirst()).prompt()).toList();
        int from = 0;
        while (from < prompts.size()) {
            int to = from + 1;
            int rows = prompts.get(from).tokens().length;
            while (to < prompts.size()
                    && rows + prompts.get(to).tokens().length <= PREFILL_TOKENS) {
                rows += prompts.get(to++).tokens().length;
            }
            prefill(prompts.subList(from, to), sharing.subList(from, to));
            progress.update(finished, requests.size(), drawn);
            from = to;
        }
        // Requests of a prompt side by side, so that they can share it; the longest first, as a
        // decode step likes it.
        int[] all =
                sharing.stream()
                        .sorted(
                                Comparator.comparingInt(some ->
                                        -requests.get(some.getFirst()).prompt().tokens().length))
                        .flatMapToInt(some -> some.stream().mapToInt(Integer::intValue))
                        .toArray();
        return unfinished(all);
    }

    /// Prefills some prompts, each in the pages of the first request that shares it.
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
            keyStart[p] = KvCache.row(plan.firstPage(sharing.get(p).getFirst()));
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
            for (int request : active) {
                plan.copyPartialPage(cache, request);
            }
            int[] rows = lastRows.stream().mapToInt(Integer::intValue).toArray();
            Tensor last = tape.takeRows(hidden, tape.upload(rows, rows.length));
            draw(tape, active.stream().mapToInt(Integer::intValue).toArray(), last);
        }
    }

    /// Draws each request's first token.
    ///
    /// @param hidden [requests, hiddenSize]
    private void draw(Tape tape, int[] batch, Tensor hidden) {
        int count = batch.length;
        long[] keys = new long[count];
        Arrays.setAll(keys, i -> requests.get(batch[i]).key());
        Draws draws = new Draws(tape, model, rules, count, seen(batch));
        draws.force(forced(batch));
        draws.draw(
                tape,
                model,
                hidden,
                tape.upload(keys, count).span(),
                tape.upload(new int[count], count).span());
        draws.download();
        append(batch, draws);
    }

    /// Appends what was drawn to those requests of a batch that have not finished.
    private void append(int[] batch, Draws draws) {
        for (int i = 0; i < batch.length; i++) {
            if (reasons[batch[i]] == null) {
                append(batch[i], draws, i);
                drawn++;
            }
        }
    }

    private void append(int request, Draws draws, int row) {
        int token = draws.token(row);
        int index = counts[request]++;
        if (index == tokens[request].length) {
            tokens[request] = Arrays.copyOf(tokens[request], 2 * index);
            logProbs[request] = Arrays.copyOf(logProbs[request], 2 * index);
            entropies[request] = Arrays.copyOf(entropies[request], 2 * index);
            masses[request] = Arrays.copyOf(masses[request], 2 * index);
        }
        tokens[request][index] = token;
        logProbs[request][index] = draws.logProb(row);
        entropies[request][index] = draws.entropy(row);
        masses[request][index] = draws.mass(row);
        Guide.Next next = guides == null ? Guide.Choice.DRAW : guides.get(request).follow(token);
        forced[request] = forced(next);
        if (options.stops(token)) {
            finish(request, FinishReason.STOP);
        } else if (next == Guide.Choice.STOP) {
            finish(request, FinishReason.GUIDE);
        } else if (index + 1 == options.maxNewTokens()) {
            finish(request, FinishReason.LENGTH);
        }
    }

    private void finish(int request, FinishReason reason) {
        reasons[request] = reason;
        forced[request] = Draws.FREE;
        finished++;
    }

    private int[] unfinished(int[] active) {
        return Arrays.stream(active).filter(i -> reasons[i] == null).toArray();
    }
}
