package dev.saccade.bench;

import dev.saccade.engine.InputException;

/// How each operation's cases are prepared.
final class Cases {
    private Cases() {}

    /// Puts a case's operands in place.
    ///
    /// @throws UnsupportedOperationException with the reason, when the device can't do it
    static PreparedCase prepare(Case work, Workbench bench) {
        return switch (work.text("op")) {
            case "gemm" -> GemmCases.gemm(work, bench);
            case "gemm_batch" -> GemmCases.batch(work, bench);
            case "swiglu_gemm" -> GemmCases.swiGlu(work, bench);
            case "attention", "attention_packed", "attention_shared" ->
                    AttentionCases.forward(work, bench);
            case "attention_backward", "attention_packed_backward", "attention_shared_backward" ->
                    AttentionCases.backward(work, bench);
            case "attention_decode" -> AttentionCases.decode(work, bench);
            case "rms_norm" -> NormCases.rmsNorm(work, bench);
            case "rms_norm_both" -> NormCases.rmsNormBoth(work, bench);
            case "rms_norm_backward" -> NormCases.rmsNormBackward(work, bench);
            case "layer_norm" -> NormCases.layerNorm(work, bench);
            case "layer_norm_backward" -> NormCases.layerNormBackward(work, bench);
            case "gelu" -> PointwiseCases.gelu(work, bench);
            case "gelu_backward" -> PointwiseCases.geluBackward(work, bench);
            case "swiglu" -> PointwiseCases.swiGlu(work, bench);
            case "swiglu_backward" -> PointwiseCases.swiGluBackward(work, bench);
            case "add" -> PointwiseCases.add(work, bench);
            case "cast" -> PointwiseCases.cast(work, bench);
            case "sum_rows" -> PointwiseCases.sumRows(work, bench);
            case "adamw" -> PointwiseCases.adamW(work, bench);
            case "rope" -> RowCases.rope(work, bench);
            case "rope_cache" -> RopeCacheCases.append(work, bench);
            case "gather" -> RowCases.gather(work, bench);
            case "scatter_add" -> RowCases.scatterAdd(work, bench);
            case "pixel_unshuffle" -> RowCases.pixelUnshuffle(work, bench);
            case "connector" -> ConnectorCases.connector(work, bench);
            case "entropy" -> EntropyCases.forward(work, bench);
            case "entropy_backward" -> EntropyCases.backward(work, bench);
            case "head" -> HeadCases.forward(work, bench);
            case "head_backward" -> HeadCases.both(work, bench);
            case "head_draw" -> HeadCases.draw(work, bench);
            case "softmax" -> EntropyCases.softmax(work, bench);
            case "copy" -> EngineCases.copy(work, bench);
            case "launch" -> EngineCases.launch(work, bench);
            case "replay" -> EngineCases.replay(work, bench);
            case "allocate" -> EngineCases.allocate(work, bench);
            case "upload" -> EngineCases.upload(work, bench);
            case "download" -> EngineCases.download(work, bench);
            default ->
                    throw new InputException(
                            "case " + work.name(),
                            "there is no operation '" + work.text("op") + "'",
                            "correct the list");
        };
    }
}
