package dev.saccade.bench.peer;

import dev.saccade.engine.CudaDevice;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import jcuda.Pointer;
import jcuda.runtime.cudaStream_t;

/// The engine's addresses and stream in JCuda's types.
final class JCudaPointers {
    private JCudaPointers() {}

    /// Device memory.
    static Pointer of(long address) {
        return new AddressPointer(address);
    }

    /// The stream that all of the device's work goes to. JCuda has no public way to name a stream
    /// that it did not make.
    ///
    /// @throws UnsupportedOperationException when this version of JCuda has no other way either
    static cudaStream_t stream(CudaDevice device) {
        try {
            Constructor<cudaStream_t> constructor =
                    cudaStream_t.class.getDeclaredConstructor(long.class);
            constructor.setAccessible(true);
            return constructor.newInstance(device.stream().handle());
        } catch (NoSuchMethodException
                | InstantiationException
                | IllegalAccessException
                | InvocationTargetException e) {
            throw new UnsupportedOperationException("JCuda can't take the engine's stream: " + e);
        }
    }

    /// The first line of what went wrong when JCuda loaded a library.
    static String reason(Throwable problem) {
        String text = String.valueOf(problem.getMessage());
        return text.lines().filter(line -> !line.isBlank()).findFirst().orElse(text).strip();
    }

    /// A pointer to a given address.
    private static final class AddressPointer extends Pointer {
        AddressPointer(long address) {
            super(address);
        }
    }
}
