package dev.saccade.bench.peer;

import dev.saccade.engine.CudaDevice;
import java.util.List;

/// The peers of one device, usable and refused.
///
/// @param all each of them, whether it can be used or not
public record Peers(List<Peer> all) implements AutoCloseable {

    /// None, for a device that has no peers.
    public static final Peers NONE = new Peers(List.of());

    public Peers {
        all = List.copyOf(all);
    }

    /// Looks for all libraries. The device's thread calls, and later uses them; they are closed
    /// before the device.
    public static Peers open(CudaDevice device) {
        return new Peers(
                List.of(
                        CublasLtPeer.open(device),
                        JCublasPeer.open(device),
                        CudnnPeer.open(device),
                        JCudnnPeer.open(device)));
    }

    /// Those that can be used.
    public List<Peer> usable() {
        return all.stream().filter(peer -> peer.refusal() == null).toList();
    }

    /// One line for each: what it is, or why it is refused.
    public List<String> describe() {
        return all.stream()
                .map(peer ->
                        peer.name()
                                + ": "
                                + (peer.refusal() == null
                                        ? peer.version()
                                        : "not used: " + peer.refusal()))
                .toList();
    }

    @Override
    public void close() {
        all.forEach(Peer::close);
    }
}
