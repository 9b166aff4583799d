package dev.saccade.engine;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/// The contract on the fake driver, through each binding; nothing may be left behind.
@Tag(FakeCuda.TAG)
class FakeDriverContractTest {

    abstract static class OnFake extends CudaContract {
        private FakeCuda fake;

        @BeforeEach
        @Override
        void open() {
            fake = FakeCuda.require();
            super.open();
        }

        @AfterEach
        @Override
        void close() {
            super.close();
            if (fake != null) {
                fake.assertNothingLeft();
            }
        }
    }

    @Nested
    class ThroughFfm extends OnFake {
        @Override
        String binding() {
            return "ffm";
        }
    }

    @Nested
    class ThroughJcuda extends OnFake {
        @Override
        String binding() {
            return "jcuda";
        }
    }
}
