package dev.saccade.engine;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/// The contract on this machine's GPU, through each binding; skipped with the reason where there is
/// none.
@Tag("device")
class CudaEngineContractTest {

    @Nested
    class ThroughFfm extends CudaContract {
        @Override
        String binding() {
            return "ffm";
        }
    }

    @Nested
    class ThroughJcuda extends CudaContract {
        @Override
        String binding() {
            return "jcuda";
        }
    }
}
