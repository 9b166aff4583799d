package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HostDeviceTest {

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 4, 63, 256, 257, 1000, 4096, 65_537, 5_000_001})
    void buffersAreAlignedAndHoldWhatWasAskedFor(long bytes) {
        try (HostDevice device = HostDevice.open(1);
                DeviceBuffer buffer = device.allocate(bytes)) {
            assertThat(buffer.address()).isNotZero();
            assertThat(buffer.address() % 64).isZero();
            assertThat(buffer.bytes()).isEqualTo(bytes);
            assertThat(buffer.capacity()).isBetween(bytes, Math.max(512, bytes + bytes / 8 + 256));
            assertThat(buffer.device()).isSameAs(device);
            assertThat(device.memory().usedBytes()).isEqualTo(buffer.capacity());
            device.fill(buffer, 0, bytes, (byte) 7);
        }
    }

    @Test
    void copiesArriveWhereTheyShould() {
        try (HostDevice device = HostDevice.open(2);
                DeviceBuffer a = device.allocate(64);
                DeviceBuffer b = device.allocate(64)) {
            device.fill(a, 0, 64, (byte) 1);
            device.fill(b, 0, 64, (byte) 2);
            device.upload(MemorySegment.ofArray(new byte[] {10, 11, 12, 13}), a, 8);
            device.copy(a, 9, b, 60, 3);
            byte[] out = new byte[6];
            device.download(b, 58, MemorySegment.ofArray(out));
            assertThat(out).containsExactly(2, 2, 11, 12, 13, 2);
            device.synchronize();
            assertThat(HostMemory.SPACE.get(ValueLayout.JAVA_BYTE, a.address() + 8))
                    .isEqualTo((byte) 10);
            assertThat(HostMemory.segment(a.address(), 64).get(ValueLayout.JAVA_BYTE, 7))
                    .isEqualTo((byte) 1);
        }
    }

    @Test
    void rangesAreChecked() {
        try (HostDevice device = HostDevice.open(1);
                HostDevice other = HostDevice.open(1);
                DeviceBuffer buffer = device.allocate(16);
                DeviceBuffer foreign = other.allocate(16)) {
            long[][] wrong = {{-1, 4}, {0, 17}, {16, 1}, {4, -1}, {Long.MAX_VALUE, 1}};
            for (long[] range : wrong) {
                assertThatThrownBy(() -> device.fill(buffer, range[0], range[1], (byte) 0))
                        .isInstanceOf(IndexOutOfBoundsException.class);
            }
            MemorySegment five = MemorySegment.ofArray(new byte[5]);
            assertThatThrownBy(() -> device.upload(five, buffer, 12))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> device.download(buffer, 12, five))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> device.copy(buffer, 0, foreign, 0, 4))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("not on this device");
            assertThatThrownBy(() -> device.allocate(-1))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void theStatisticsAccountForEveryByte() {
        try (HostDevice device = HostDevice.open(1)) {
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(0, 0, 0, 0));
            DeviceBuffer a = device.allocate(1024);
            DeviceBuffer b = device.allocate(2048);
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(3072, 3072, 0, 2));
            a.close();
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(2048, 3072, 1024, 2));
            DeviceBuffer again = device.allocate(1000); // the same size class
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(3072, 3072, 0, 2));
            again.close();
            b.close();
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(0, 3072, 3072, 2));
        }
    }

    @Test
    void closingTwiceGivesBackOnce() {
        try (HostDevice device = HostDevice.open(1)) {
            DeviceBuffer buffer = device.allocate(256);
            assertThat(buffer.isOpen()).isTrue();
            assertThat(buffer).hasToString("DeviceBuffer[cpu, 256 bytes]");
            buffer.close();
            buffer.close();
            assertThat(buffer.isOpen()).isFalse();
            assertThat(buffer).hasToString("DeviceBuffer[cpu, 256 bytes, closed]");
            assertThat(device.memory()).isEqualTo(new MemoryStatistics(0, 256, 256, 1));
            assertThatThrownBy(buffer::address)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("closed");
            assertThatThrownBy(() -> device.fill(buffer, 0, 1, (byte) 0))
                    .isInstanceOf(IllegalStateException.class);
            DeviceBuffer first = device.allocate(256);
            DeviceBuffer second = device.allocate(256);
            assertThat(first.address()).isNotEqualTo(second.address());
            first.close();
            second.close();
        }
    }

    @Test
    void theLimitIsAnErrorThatSaysWhatIsInUse() {
        Locale saved = Locale.getDefault();
        try (HostDevice device = HostDevice.open(1)) {
            Locale.setDefault(Locale.GERMANY);
            device.limitMemory(2000L << 20);
            DeviceBuffer held = device.allocate(8L << 20);
            assertThatThrownBy(() -> device.allocate(2001L << 20))
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessage(
                            "cpu: out of memory: asked for 2,001 MiB, 8 MiB in use, 0 MiB cached;"
                                    + " use a smaller batch or model");
            held.close();
            device.allocate(1L << 20).close();
            assertThat(device.memory().usedBytes()).isZero();
        } finally {
            Locale.setDefault(saved);
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1L << 62, Long.MAX_VALUE})
    void memoryThatNoMachineHasIsTheSameError(long bytes) {
        try (HostDevice device = HostDevice.open(1)) {
            assertThatThrownBy(() -> device.allocate(bytes))
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessageContaining("asked for");
            assertThat(device.memory().usedBytes()).isZero();
        }
    }

    @Test
    void scratchGrowsAndBelongsToItsWorker() {
        try (HostDevice device = HostDevice.open(2)) {
            long first = device.scratch(0, 100);
            assertThat(device.scratch(0, 1000)).isEqualTo(first);
            assertThat(device.scratch(1, 100)).isNotEqualTo(first);
            long larger = device.scratch(0, 1 << 20);
            HostMemory.segment(larger, 1 << 20).fill((byte) 3);
            assertThat(device.scratch(0, 50)).isEqualTo(larger);
        }
    }

    @Test
    void aClosedDeviceRefusesWork() {
        HostDevice device = HostDevice.open(2);
        DeviceBuffer outlives = device.allocate(100);
        device.scratch(0, 10);
        device.close();
        device.close();
        outlives.close();
        assertThat(device.memory().usedBytes()).isZero();
        assertThatThrownBy(() -> device.allocate(1)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> device.run(5, (_, _, _) -> {}))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
    }

    @Test
    void aDeviceHasAtLeastOneWorker() {
        assertThatThrownBy(() -> HostDevice.open(0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("at least 1");
        try (HostDevice device = HostDevice.open(3)) {
            assertThat(device.workers()).isEqualTo(3);
            assertThat(device.name()).isEqualTo("cpu");
        }
        String saved = System.getProperty("saccade.threads", "");
        System.setProperty("saccade.threads", "2");
        try (HostDevice device = HostDevice.open()) {
            assertThat(device.workers()).isEqualTo(2);
        } finally {
            if (saved.isEmpty()) {
                System.clearProperty("saccade.threads");
            } else {
                System.setProperty("saccade.threads", saved);
            }
        }
    }

    /// Random allocation and release: live buffers never overlap, and the books balance.
    @Test
    void liveBuffersNeverOverlap() {
        SplittableRandom random = new SplittableRandom(31);
        try (HostDevice device = HostDevice.open(1)) {
            List<DeviceBuffer> live = new ArrayList<>();
            for (int step = 0; step < 3000; step++) {
                if (live.isEmpty() || (random.nextInt(5) < 3 && live.size() < 60)) {
                    DeviceBuffer fresh = device.allocate(random.nextInt(20_000));
                    for (DeviceBuffer other : live) {
                        boolean before = fresh.address() + fresh.capacity() <= other.address();
                        boolean after = other.address() + other.capacity() <= fresh.address();
                        assertThat(before || after).isTrue();
                    }
                    live.add(fresh);
                } else {
                    live.remove(random.nextInt(live.size())).close();
                }
                long used = live.stream().mapToLong(DeviceBuffer::capacity).sum();
                assertThat(device.memory().usedBytes()).isEqualTo(used);
            }
            live.forEach(DeviceBuffer::close);
            assertThat(device.memory().usedBytes()).isZero();
        }
    }
}
