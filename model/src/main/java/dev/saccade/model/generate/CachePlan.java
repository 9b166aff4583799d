package dev.saccade.model.generate;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.Prompt;
import dev.saccade.model.language.KvCache;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;

/// Which pages of the cache the requests of a wave have. A prompt lies in the pages of the first
/// request that has it, and that request's own tokens follow it there. The others share the
/// prompt's whole pages; what it has of a last, partial one they have as a copy at the beginning of
/// their own pages, where their tokens follow.
final class CachePlan {
    private final int maxNewTokens;
    private final List<Request> requests = new ArrayList<>();
    private final List<Integer> owners = new ArrayList<>();
    private final List<Integer> firstPages = new ArrayList<>();
    private final IdentityHashMap<Prompt, Integer> ownerOf = new IdentityHashMap<>();
    private int pages;

    /// @param maxNewTokens the most tokens that are drawn for a request
    CachePlan(int maxNewTokens) {
        this.maxNewTokens = maxNewTokens;
    }

    /// Pages that a request would take beside those of the plan.
    int pagesFor(Request request) {
        int shared = ownerOf.containsKey(request.prompt()) ? wholePages(request.prompt()) : 0;
        return KvCache.pagesOf(length(request.prompt()) + maxNewTokens) - shared;
    }

    void add(Request request) {
        int count = pagesFor(request);
        Integer owner = ownerOf.putIfAbsent(request.prompt(), requests.size());
        owners.add(owner == null ? requests.size() : owner);
        requests.add(request);
        firstPages.add(pages);
        pages = Math.addExact(pages, count);
    }

    /// The requests, in the order in which they were added; they are numbered in it.
    List<Request> requests() {
        return requests;
    }

    /// Pages of all requests.
    int pages() {
        return pages;
    }

    /// The first request that has the same prompt: itself, perhaps.
    int owner(int request) {
        return owners.get(request);
    }

    /// Pages at the beginning of a request that all requests with its prompt have.
    int sharedPages(int request) {
        return wholePages(requests.get(request).prompt());
    }

    /// The first of the pages that are the request's own; they follow each other.
    int firstPage(int request) {
        return firstPages.get(request);
    }

    /// All pages of a request, in their order.
    int[] table(int request) {
        Prompt prompt = requests.get(request).prompt();
        int[] table = new int[KvCache.pagesOf(length(prompt) + maxNewTokens)];
        int before = pagesBefore(request);
        for (int i = 0; i < table.length; i++) {
            table[i] = i < before ? firstPage(owner(request)) + i : firstPage(request) + i - before;
        }
        return table;
    }

    /// The row of the cache that a position behind a request's prompt has.
    int row(int request, int position) {
        return KvCache.row(firstPage(request)) + position - pagesBefore(request) * Attention.PAGE;
    }

    /// Gives a request what its prompt has in a partial page, after the prompt has been computed.
    void copyPartialPage(KvCache cache, int request) {
        int owner = owner(request);
        Prompt prompt = requests.get(request).prompt();
        int rest = length(prompt) % Attention.PAGE;
        if (owner != request && rest > 0) {
            cache.copy(firstPage(owner) + wholePages(prompt), firstPage(request), rest);
        }
    }

    /// Pages of a request that are its prompt's owner's.
    private int pagesBefore(int request) {
        return owner(request) == request ? 0 : sharedPages(request);
    }

    private static int wholePages(Prompt prompt) {
        return length(prompt) / Attention.PAGE;
    }

    private static int length(Prompt prompt) {
        return prompt.tokens().length;
    }
}
