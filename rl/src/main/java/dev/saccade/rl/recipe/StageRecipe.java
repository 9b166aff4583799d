package dev.saccade.rl.recipe;

import dev.saccade.tensor.ParameterGroup;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One stage of a run.
///
/// @param name its name in metrics, reports and `--set`
/// @param kind what it does
/// @param data the rows it trains on: a JSONL file, resolved against [DataRecipe#folder()]
/// @param evalData the rows it is evaluated on; null = it is not evaluated
/// @param steps optimiser steps
/// @param trainBatchSize rows (SFT) or prompts (GRPO) of a step
/// @param microBatchSize sequences that are in memory at a time; never changes the result's meaning
/// @param trainable the groups that train; the others are frozen
/// @param optim the optimiser
/// @param maxPromptLength the longest prompt in tokens; a longer one is an error that names its row
/// @param maxResponseLength the longest response in tokens: sampling stops there, a longer training
///   response is an error
/// @param testFreq evaluate every so many steps; 0 = at the stage's ends only
/// @param saveFreq save a checkpoint every so many steps; 0 = at the stage's end only
/// @param rolloutFreq write a step's rollouts every so many steps of a GRPO stage; 0 = never
/// @param policy the policy loss; of GRPO stages, otherwise null
public record StageRecipe(
        String name,
        StageKind kind,
        String data,
        @Nullable String evalData,
        int steps,
        int trainBatchSize,
        int microBatchSize,
        List<ParameterGroup> trainable,
        OptimRecipe optim,
        int maxPromptLength,
        int maxResponseLength,
        int testFreq,
        int saveFreq,
        int rolloutFreq,
        @Nullable PolicyRecipe policy) {

    private static final String[] COMMON_KEYS = {
        "name",
        "kind",
        "data",
        "eval_data",
        "steps",
        "train_batch_size",
        "micro_batch_size",
        "trainable",
        "optim",
        "max_prompt_length",
        "max_response_length",
        "test_freq",
        "save_freq",
        "rollout_freq"
    };

    static StageRecipe bind(RecipeNode node, int index, @Nullable String defaultEvalData) {
        String path = "stages." + index;
        if (node instanceof RecipeNode.Mapping mapping
                && mapping.entries().get("name") instanceof RecipeNode.Scalar(var text, _)
                && text != null) {
            path = "stages." + text;
        }
        List<String> all = new ArrayList<>(Arrays.asList(COMMON_KEYS));
        all.addAll(Arrays.asList(PolicyRecipe.KEYS));
        RecipeSection stage = RecipeSection.of(node, path, all.toArray(String[]::new));
        String name = stage.text("name");
        if (!name.matches("[A-Za-z0-9_-]{1,64}")) {
            throw stage.wrong(
                    "name", "'" + name + "'", "use letters, digits, '-' and '_', at most 64");
        }
        StageKind kind = stage.choice("kind", StageKind.names());
        if (kind != StageKind.GRPO) {
            for (String key : PolicyRecipe.KEYS) {
                if (stage.has(key)) {
                    throw stage.wrong(
                            key,
                            "a key of grpo stages, and this one is " + kind.label(),
                            "remove it or set kind: grpo");
                }
            }
        }
        List<ParameterGroup> everything = List.of(ParameterGroup.values());
        List<ParameterGroup> trainable =
                stage.choices(
                        "trainable",
                        kind == StageKind.CONNECTOR
                                ? List.of(ParameterGroup.CONNECTOR)
                                : everything,
                        groups());
        if (trainable.isEmpty()) {
            throw stage.wrong("trainable", "empty", "name at least one group");
        }
        if (kind == StageKind.CONNECTOR && !trainable.equals(List.of(ParameterGroup.CONNECTOR))) {
            throw stage.wrong(
                    "trainable",
                    "not [connector], and a connector stage trains the connector alone",
                    "set kind: sft to train other groups");
        }
        trainable = everything.stream().filter(trainable::contains).toList();
        int batch = stage.integer("train_batch_size", 1, 1 << 20);
        int maxResponseLength = stage.integer("max_response_length", 64, 1, 1 << 20);
        PolicyRecipe policy =
                kind == StageKind.GRPO ? PolicyRecipe.bind(stage, maxResponseLength) : null;
        int sequences = policy == null ? batch : batch * policy.rollout().n();
        return new StageRecipe(
                name,
                kind,
                stage.text("data"),
                stage.has("eval_data") ? stage.text("eval_data") : defaultEvalData,
                stage.integer("steps", 1, 1_000_000_000),
                batch,
                stage.integer("micro_batch_size", sequences, 1, 1 << 20),
                trainable,
                OptimRecipe.bind(stage.section("optim", OptimRecipe.KEYS)),
                stage.integer("max_prompt_length", 1024, 1, 1 << 20),
                maxResponseLength,
                stage.integer("test_freq", 0, 0, 1_000_000_000),
                stage.integer("save_freq", 0, 0, 1_000_000_000),
                stage.integer("rollout_freq", kind == StageKind.GRPO ? 10 : 0, 0, 1_000_000_000),
                policy);
    }

    private static Map<String, ParameterGroup> groups() {
        Map<String, ParameterGroup> names = new LinkedHashMap<>();
        for (ParameterGroup group : ParameterGroup.values()) {
            names.put(group.label(), group);
        }
        return names;
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("name", name);
        tree.put("kind", kind.label());
        tree.put("data", data);
        if (evalData != null) {
            tree.put("eval_data", evalData);
        }
        tree.put("steps", steps);
        tree.put("train_batch_size", trainBatchSize);
        tree.put("micro_batch_size", microBatchSize);
        tree.put("trainable", trainable.stream().map(ParameterGroup::label).toList());
        tree.put("optim", optim.toTree());
        tree.put("max_prompt_length", maxPromptLength);
        tree.put("max_response_length", maxResponseLength);
        tree.put("test_freq", testFreq);
        tree.put("save_freq", saveFreq);
        tree.put("rollout_freq", rolloutFreq);
        if (policy != null) {
            policy.addTo(tree);
        }
        return tree;
    }

    /// Whether the stage is evaluated after its step `stageStep` (from 1).
    public boolean evaluatesAfter(int stageStep) {
        return evalData != null
                && (stageStep == steps || (testFreq > 0 && stageStep % testFreq == 0));
    }

    /// Whether the rollouts of the stage's step `stageStep` (from 1) are written: the first, and
    /// every `rolloutFreq`-th.
    public boolean writesRolloutsOf(int stageStep) {
        return rolloutFreq > 0 && (stageStep == 1 || stageStep % rolloutFreq == 0);
    }

    /// Whether a checkpoint is saved after the stage's step `stageStep` (from 1).
    public boolean savesAfter(int stageStep) {
        return stageStep == steps || (saveFreq > 0 && stageStep % saveFreq == 0);
    }
}
