package dev.saccade.rl.cli;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandleProxies;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/// Ctrl-C while something is being done ends that and not the process; otherwise it ends the
/// process, as ever. The class that Java has for it is no part of its API: where it is missing,
/// Ctrl-C always ends the process.
final class Interrupts implements AutoCloseable {
    private static final int INTERRUPTED = 130;

    private final AtomicBoolean busy = new AtomicBoolean();
    private final AtomicBoolean asked = new AtomicBoolean();
    private @Nullable Object before;

    private Interrupts() {}

    /// Begins to catch Ctrl-C.
    static Interrupts catching() {
        Interrupts interrupts = new Interrupts();
        try {
            Class<?> signal = Class.forName("sun.misc.Signal");
            MethodHandle interrupt =
                    MethodHandles.lookup()
                            .bind(interrupts, "interrupt", MethodType.methodType(void.class));
            Object handler =
                    MethodHandleProxies.asInterfaceInstance(
                            Class.forName("sun.misc.SignalHandler"),
                            MethodHandles.dropArguments(interrupt, 0, signal));
            interrupts.before = handle(handler);
        } catch (ReflectiveOperationException | RuntimeException e) {
            interrupts.before = null; // Ctrl-C stays as it is
        }
        return interrupts;
    }

    private static @Nullable Object handle(Object handler) throws ReflectiveOperationException {
        Class<?> signal = Class.forName("sun.misc.Signal");
        Class<?> handlerType = Class.forName("sun.misc.SignalHandler");
        return signal.getMethod("handle", signal, handlerType)
                .invoke(null, signal.getConstructor(String.class).newInstance("INT"), handler);
    }

    /// What Ctrl-C does.
    void interrupt() {
        if (busy.get()) {
            asked.set(true);
        } else {
            System.exit(INTERRUPTED);
        }
    }

    /// From here on Ctrl-C asks what is being done to end.
    void begin() {
        asked.set(false);
        busy.set(true);
    }

    /// From here on Ctrl-C ends the process.
    void end() {
        busy.set(false);
    }

    /// Whether what is being done should end.
    boolean asked() {
        return asked.get();
    }

    @Override
    public void close() {
        if (before != null) {
            try {
                handle(before);
            } catch (ReflectiveOperationException | RuntimeException e) {
                before = null;
            }
        }
    }
}
