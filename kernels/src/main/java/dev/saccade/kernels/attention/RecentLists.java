package dev.saccade.kernels.attention;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.function.Consumer;
import java.util.function.Function;

/// What was made last for some keys, in device memory: a step uses the same lists in every layer.
///
/// @param <K> what decides a list
/// @param <L> the list
final class RecentLists<K, L> {
    private final int most;
    private final Function<K, L> make;
    private final Consumer<L> close;
    private final Deque<Entry<K, L>> entries = new ArrayDeque<>();

    private record Entry<K, L>(K key, L list) {}

    /// @param most how many are kept
    /// @param close gives one's memory away: what is queued may still read it, and memory is given
    ///   away again in the stream's order
    RecentLists(int most, Function<K, L> make, Consumer<L> close) {
        this.most = most;
        this.make = make;
        this.close = close;
    }

    /// Lists one behind the other in device memory; at least 4 bytes of it.
    static DeviceBuffer upload(Device device, int[]... lists) {
        int[] all = Arrays.stream(lists).flatMapToInt(Arrays::stream).toArray();
        DeviceBuffer buffer = device.allocate(Math.max(1, all.length) * 4L);
        if (all.length > 0) {
            device.upload(MemorySegment.ofArray(all), buffer, 0);
        }
        return buffer;
    }

    /// The list for a key, made if it is not there.
    L get(K key) {
        for (Entry<K, L> entry : entries) {
            if (entry.key.equals(key)) {
                return entry.list;
            }
        }
        if (entries.size() == most) {
            close.accept(entries.removeLast().list);
        }
        L list = make.apply(key);
        entries.addFirst(new Entry<>(key, list));
        return list;
    }
}
