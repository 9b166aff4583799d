package dev.saccade.engine;

import org.junit.jupiter.api.Nested;

/// The contract on this machine's GPU, through each binding; skipped with the reason where there is
/// none.
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
