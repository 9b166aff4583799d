package dev.saccade.rl.reward;

import java.util.Map;

/// A response to score.
///
/// @param dataSource the row's data source
/// @param prompt the prompt as the model read it; it may end with `<think>`, where the response
///   then goes on
/// @param response the decoded response, without the token that ends it
/// @param groundTruth the right answer
/// @param extraInfo anything else the row says
public record Sample(
        String dataSource,
        String prompt,
        String response,
        String groundTruth,
        Map<String, Object> extraInfo) {}
