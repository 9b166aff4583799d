package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

final class FaultListTest {

    @Test
    void layersAreGathered() {
        FaultList faults = new FaultList();
        assertThat(faults.isEmpty()).isTrue();
        faults.add("missing lm_head.weight");
        for (int layer : new int[] {0, 1, 2, 5, 10, 11}) {
            faults.add("missing model.layers." + layer + ".norm.weight");
        }
        faults.add("missing encoder.layer.3.lambda_1");
        faults.add("unexpected mlp1.0.%s$1");
        assertThat(faults)
                .hasToString(
                        "missing lm_head.weight, missing model.layers.{0-2,5,10-11}.norm.weight,"
                                + " missing encoder.layer.3.lambda_1, unexpected mlp1.0.%s$1");
        for (int i = 0; i < 40; i++) {
            faults.add("unexpected x" + i);
        }
        assertThat(faults.toString()).endsWith(", unexpected x19 and 20 more");
    }
}
