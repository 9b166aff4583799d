package dev.saccade.model;

/// The norm inside the vision tower's layers, as `norm_type` in config.json.
public enum NormType {
    /// LayerNorm with weight and bias: InternViT-300M.
    LAYER_NORM("layer_norm"),
    /// RMSNorm with a weight only: InternViT-6B.
    RMS_NORM("rms_norm");

    private final String label;

    NormType(String label) {
        this.label = label;
    }

    /// The name in config.json.
    public String label() {
        return label;
    }
}
