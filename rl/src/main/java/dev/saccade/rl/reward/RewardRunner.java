package dev.saccade.rl.reward;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/// Calls a reward without trusting it. Each call has a deadline of its own; one that throws, gives
/// no number or comes too late scores 0 and says why, and the others go on.
///
/// A call can't be ended from outside, so a late one is left behind on its daemon thread, and a
/// fresh thread takes over its place. When very many hang, further calls are not made any more but
/// fail at once: scoring always ends.
public final class RewardRunner implements AutoCloseable {
    /// Calls left behind and still running at which further calls are refused.
    static final int MOST_ABANDONED = 64;

    private final Reward reward;
    private final String name;
    private final Duration deadline;
    private final int threads;
    private final AtomicInteger abandoned = new AtomicInteger();
    private volatile boolean closed;

    /// A sample's score.
    ///
    /// @param score the score; [Score#ZERO] after a failure
    /// @param failure why there is none, in a few words; null when all went well
    public record Scored(Score score, @Nullable String failure) {}

    /// @param reward what is called
    /// @param deadline how long a call may take
    /// @param threads calls at a time
    public RewardRunner(Reward reward, Duration deadline, int threads) {
        if (threads < 1 || !deadline.isPositive()) {
            throw new IllegalArgumentException(threads + " threads, deadline " + deadline);
        }
        this.reward = reward;
        this.name = reward.name();
        this.deadline = deadline;
        this.threads = threads;
    }

    /// Scores samples.
    ///
    /// @return a result for each sample, in the same order
    public List<Scored> score(List<Sample> samples) {
        if (closed) {
            throw new IllegalStateException("the reward runner is closed");
        }
        return new Batch(samples).run();
    }

    /// No more calls. Calls that were left behind end with the process.
    @Override
    public void close() {
        closed = true;
    }

    /// One call of [#score]. Everything below `lock` is read and written while holding it.
    private final class Batch {
        private final Object lock = new Object();
        private final List<Sample> samples;
        private final @Nullable Scored[] results;
        private final List<Worker> workers = new ArrayList<>();
        private int next;
        private int open;

        Batch(List<Sample> samples) {
            this.samples = samples;
            this.results = new Scored[samples.size()];
            this.open = samples.size();
        }

        List<Scored> run() {
            boolean interrupted = false;
            synchronized (lock) {
                for (int i = 0; i < Math.min(threads, samples.size()); i++) {
                    startWorker();
                }
                while (open > 0) {
                    try {
                        TimeUnit.NANOSECONDS.timedWait(lock, nanosToNextDeadline());
                    } catch (InterruptedException e) {
                        // The deadlines end the wait; the interruption is for the caller.
                        interrupted = true;
                    }
                    abandonLateWorkers();
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            List<Scored> scored = new ArrayList<>(results.length);
            for (Scored result : results) {
                if (result == null) {
                    throw new IllegalStateException("a sample was not scored");
                }
                scored.add(result);
            }
            return scored;
        }

        private void startWorker() {
            Worker worker = new Worker(this);
            workers.add(worker);
            Thread.ofPlatform().daemon().name("saccade-reward").start(worker);
        }

        private long nanosToNextDeadline() {
            long now = System.nanoTime();
            // A worker between two calls tells when it is through.
            long remaining = Long.MAX_VALUE;
            for (Worker worker : workers) {
                if (worker.sample >= 0) {
                    remaining = Math.min(remaining, deadline.toNanos() - (now - worker.startNanos));
                }
            }
            return remaining;
        }

        private void abandonLateWorkers() {
            long now = System.nanoTime();
            for (int i = workers.size() - 1; i >= 0; i--) {
                Worker worker = workers.get(i);
                if (worker.sample >= 0 && now - worker.startNanos >= deadline.toNanos()) {
                    finish(worker.sample, failed("gave no score within " + seconds(deadline)));
                    worker.abandoned = true;
                    abandoned.incrementAndGet();
                    workers.remove(i);
                    worker.interrupt();
                    if (next < samples.size()) {
                        startWorker();
                    }
                }
            }
        }

        private void finish(int sample, Scored result) {
            results[sample] = result;
            open--;
        }

        /// The next sample for a worker; -1 when there is none left.
        private int take(Worker worker) {
            synchronized (lock) {
                while (next < samples.size() && abandoned.get() >= MOST_ABANDONED) {
                    finish(next++, failed("not called: " + MOST_ABANDONED + " calls hang"));
                }
                worker.sample = next < samples.size() ? next++ : -1;
                worker.startNanos = System.nanoTime();
                lock.notifyAll();
                return worker.sample;
            }
        }

        /// @return whether the worker goes on
        private boolean give(Worker worker, Scored result) {
            synchronized (lock) {
                if (worker.abandoned) {
                    abandoned.decrementAndGet();
                    return false;
                }
                finish(worker.sample, result);
                worker.sample = -1;
                lock.notifyAll();
                return true;
            }
        }
    }

    /// Calls the reward for one sample after the other.
    private final class Worker implements Runnable {
        private final Batch batch;
        private int sample = -1;
        private long startNanos;
        private boolean abandoned;
        private @Nullable Thread thread;

        Worker(Batch batch) {
            this.batch = batch;
        }

        @Override
        public void run() {
            synchronized (batch.lock) {
                thread = Thread.currentThread();
            }
            boolean goesOn = true;
            while (goesOn) {
                int index = batch.take(this);
                goesOn = index >= 0 && batch.give(this, call(batch.samples.get(index)));
            }
        }

        void interrupt() {
            if (thread != null) {
                thread.interrupt();
            }
        }
    }

    // A reward is foreign code: whatever it throws, a stack overflow included, is its failure.
    private Scored call(Sample sample) {
        try {
            @Nullable Score score = reward.score(sample);
            if (score == null) {
                return failed("gave no score");
            }
            if (!Double.isFinite(score.total())
                    || !Double.isFinite(score.accuracy())
                    || !Double.isFinite(score.format())) {
                return failed("gave a score that is not finite");
            }
            return new Scored(score, null);
        } catch (Throwable e) {
            String message = e.getMessage();
            return failed(
                    "threw "
                            + e.getClass().getSimpleName()
                            + (message == null ? "" : ": " + message));
        }
    }

    private Scored failed(String why) {
        return new Scored(Score.ZERO, "reward " + name + " " + why);
    }

    private static String seconds(Duration duration) {
        return String.format(Locale.ROOT, "%.3g s", duration.toNanos() / 1e9);
    }
}
