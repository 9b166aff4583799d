package dev.saccade.tensor;

import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import java.util.IdentityHashMap;
import org.jspecify.annotations.Nullable;

/// The gradients that have reached tensors so far. One buffer may be the gradient of several
/// tensors (a sum passes its gradient on to both operands), so a buffer is only added to in place
/// when a single tensor holds it.
final class Gradients {
    private final Kernels kernels;
    private final StepMemory memory;
    private final IdentityHashMap<Tensor, Span> spans = new IdentityHashMap<>();

    Gradients(Kernels kernels, StepMemory memory) {
        this.kernels = kernels;
        this.memory = memory;
    }

    boolean hasReached(Tensor t) {
        return spans.containsKey(t.root());
    }

    /// The gradient of `t`, in its shape; null where none has reached it.
    @Nullable Tensor of(Tensor t) {
        Span whole = spans.get(t.root());
        return whole == null ? null : new Tensor(part(whole, t), t.shape(), false);
    }

    /// The gradient of all of `t`'s root, where it may be written in place: null where there is
    /// none, or where others hold it too.
    @Nullable Span exclusive(Tensor t) {
        Span whole = spans.get(t.root());
        return whole != null && memory.isExclusive(whole.buffer()) ? part(whole, t) : null;
    }

    /// Adds `gradient` to the gradient of `t`. The buffer is kept, not copied, when it is the
    /// first.
    void accumulate(Tensor t, Tensor gradient) {
        if (!t.requiresGrad()) {
            return;
        }
        long elements = t.shape().elements();
        if (gradient.shape().elements() != elements || gradient.dtype() != t.dtype()) {
            throw new IllegalArgumentException("a gradient of " + gradient + " for " + t);
        }
        Tensor root = t.root();
        boolean whole = elements == root.shape().elements();
        Span old = spans.get(root);
        if (old == null && whole) {
            put(root, gradient.span());
        } else if (old != null && memory.isExclusive(old.buffer())) {
            kernels.elementwise().accumulate(elements, gradient.span(), part(old, t));
        } else if (old != null && whole) {
            Span sum = memory.allocate(t.dtype(), elements);
            kernels.elementwise().add(elements, old, gradient.span(), sum);
            put(root, sum);
        } else {
            Span own = memory.allocate(root.dtype(), root.shape().elements());
            if (old == null) {
                kernels.device().fill(own.buffer(), 0, own.bytes(), (byte) 0);
            } else {
                copy(old, own);
            }
            kernels.elementwise().accumulate(elements, gradient.span(), part(own, t));
            put(root, own);
        }
    }

    /// Forgets the gradient of `t` and frees its memory, unless others hold it too.
    void drop(Tensor t) {
        Span span = spans.remove(t.root());
        if (span != null) {
            memory.release(span.buffer());
        }
    }

    void clear() {
        spans.clear();
    }

    private void put(Tensor root, Span span) {
        memory.hold(span.buffer());
        Span old = spans.put(root, span);
        if (old != null) {
            memory.release(old.buffer());
        }
    }

    /// The part of its root's gradient that belongs to `t`.
    private static Span part(Span whole, Tensor t) {
        long from = t.span().offset() - t.root().span().offset();
        return whole.slice(from, t.shape().elements());
    }

    private void copy(Span from, Span to) {
        kernels.device()
                .copy(
                        from.buffer(),
                        from.offset() * from.dtype().bytes(),
                        to.buffer(),
                        to.offset() * to.dtype().bytes(),
                        from.bytes());
    }
}
