package dev.saccade.rl.recipe;

import dev.saccade.engine.Device;
import dev.saccade.engine.InputException;
import dev.saccade.model.ComputeType;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.MalformedInputException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.dataformat.yaml.YAMLMapper;

/// What a run does: its model, its data, and the stages it goes through. Everything that a result
/// depends on is in here; the same recipe on the same device kind gives the same checkpoint bytes.
/// A run's own recipe names device kind and type ([#on(Device)]), so that it goes on with them.
///
/// Recipes are YAML. An unknown key, a wrong type or a value out of range is an [InputException]
/// that names the key, the line and the cure.
///
/// @param name what the run is called
/// @param seed the seed of every random choice
/// @param device the kind of device to compute on; null = CUDA where there is one, else the CPU
/// @param model the model it starts from
/// @param data where rows come from
/// @param reward the reward of GRPO stages and of evaluation
/// @param entropy which tokens are critical
/// @param evaluation how held-out rows are evaluated
/// @param selection how the best checkpoint is chosen
/// @param keepCheckpoints how many of the newest checkpoints stay, besides those that may be
///   selected
/// @param stages what is done, in order
public record Recipe(
        String name,
        long seed,
        @Nullable DeviceKind device,
        ModelRecipe model,
        DataRecipe data,
        RewardRecipe reward,
        EntropyRecipe entropy,
        EvaluationRecipe evaluation,
        SelectionRecipe selection,
        int keepCheckpoints,
        List<StageRecipe> stages) {

    private static final String[] KEYS = {
        "name",
        "seed",
        "device",
        "model",
        "data",
        "reward",
        "entropy",
        "evaluation",
        "selection",
        "keep_checkpoints",
        "stages"
    };

    private static final Map<String, Optional<DeviceKind>> DEVICES =
            Map.of(
                    RecipeSection.AUTO,
                    Optional.empty(),
                    DeviceKind.CPU.label(),
                    Optional.of(DeviceKind.CPU),
                    DeviceKind.CUDA.label(),
                    Optional.of(DeviceKind.CUDA));

    private static final List<String> BUILT_IN =
            List.of(
                    "quick",
                    "smoke",
                    "freeze-connector-rl",
                    "freeze-vision-rl",
                    "no-cold-start",
                    "connector-and-language",
                    "few-corrections");

    /// The names that [#load(String, List)] knows without a file.
    public static List<String> builtIn() {
        return BUILT_IN;
    }

    /// Reads a recipe.
    ///
    /// @param fileOrName a YAML file, or the name of one of the recipes that come with Saccade
    /// @param overrides `key=value` assignments applied to it, as in `stages.grpo.optim.lr=1e-4`
    public static Recipe load(String fileOrName, List<String> overrides) {
        if (BUILT_IN.contains(fileOrName)) {
            return parse(resource(fileOrName), fileOrName, null, overrides);
        }
        Path file;
        try {
            file = Path.of(fileOrName);
        } catch (InvalidPathException e) {
            throw new InputException(fileOrName, "not a file name", "name a recipe file", e);
        }
        return parse(text(file), file.toString(), file.toAbsolutePath().getParent(), overrides);
    }

    /// Reads the config.yaml of a run.
    public static Recipe read(Path file) {
        return parse(text(file), file.toString(), null, List.of());
    }

    private static String text(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (NoSuchFileException e) {
            throw new InputException(
                    file.toString(),
                    "there is no such recipe",
                    "name a file or one of " + String.join(", ", BUILT_IN),
                    e);
        } catch (MalformedInputException e) {
            throw new InputException(file.toString(), "not UTF-8 text", "name a YAML file", e);
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check the file and its permissions",
                    e);
        }
    }

    private static String resource(String name) {
        String file = "/dev/saccade/rl/recipes/" + name + ".yaml";
        try (InputStream in = Recipe.class.getResourceAsStream(file)) {
            if (in == null) {
                throw new IllegalStateException("the recipe " + file + " is not in the archive");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new IllegalStateException("the recipe " + file + " can't be read", e);
        }
    }

    /// Parses a recipe's text.
    ///
    /// @param source what to call it in messages
    /// @param folder relative paths in it start here; null = at the working directory
    /// @param overrides `key=value` assignments applied to it
    public static Recipe parse(
            String yaml, String source, @Nullable Path folder, List<String> overrides) {
        RecipeNode.Mapping root = RecipeParser.parse(yaml, source);
        for (String override : overrides) {
            RecipeParser.override(root, override);
        }
        return bind(root, folder);
    }

    private static Recipe bind(RecipeNode.Mapping root, @Nullable Path folder) {
        RecipeSection recipe = RecipeSection.of(root, "", KEYS);
        String name = recipe.text("name");
        if (!name.matches("[A-Za-z0-9_. -]{1,64}")) {
            throw recipe.wrong(
                    "name", "'" + name + "'", "use letters, digits, '-', '_', '.', at most 64");
        }
        EvaluationRecipe evaluation =
                EvaluationRecipe.bind(recipe.section("evaluation", EvaluationRecipe.KEYS));
        List<StageRecipe> stages = new ArrayList<>();
        Set<String> names = new HashSet<>();
        for (RecipeNode node : recipe.items("stages")) {
            StageRecipe stage = StageRecipe.bind(node, stages.size(), evaluation.data());
            if (!names.add(stage.name())) {
                throw new InputException(
                        node.place(),
                        "a second stage is called '" + stage.name() + "'",
                        "give each stage its own name");
            }
            stages.add(stage);
        }
        return new Recipe(
                name,
                recipe.whole("seed", 1, Long.MIN_VALUE, Long.MAX_VALUE),
                recipe.choice("device", Optional.<DeviceKind>empty(), DEVICES).orElse(null),
                ModelRecipe.bind(recipe.section("model", ModelRecipe.KEYS)).resolved(folder),
                DataRecipe.bind(recipe.section("data", DataRecipe.KEYS)).resolved(folder),
                RewardRecipe.bind(recipe.section("reward", RewardRecipe.KEYS)),
                EntropyRecipe.bind(recipe.section("entropy", EntropyRecipe.KEYS)),
                evaluation,
                SelectionRecipe.bind(recipe.section("selection", SelectionRecipe.KEYS)),
                recipe.integer("keep_checkpoints", 2, 1, 1_000_000),
                List.copyOf(stages));
    }

    /// The text of the recipe with every default written out; [#parse] reads it back as this.
    public String toYaml() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("name", name);
        tree.put("seed", seed);
        tree.put("device", device == null ? RecipeSection.AUTO : device.label());
        tree.put("model", model.toTree());
        tree.put("data", data.toTree());
        tree.put("reward", reward.toTree());
        tree.put("entropy", entropy.toTree());
        tree.put("evaluation", evaluation.toTree());
        tree.put("selection", selection.toTree());
        tree.put("keep_checkpoints", keepCheckpoints);
        tree.put("stages", stages.stream().map(StageRecipe::toTree).toList());
        try {
            return new YAMLMapper().writeValueAsString(tree);
        } catch (JacksonException e) {
            throw new IllegalStateException("the recipe can't be written", e);
        }
    }

    /// Steps of all stages.
    public long totalSteps() {
        return stages.stream().mapToLong(StageRecipe::steps).sum();
    }

    /// The recipe as a device runs it: with its kind, and the type that is computed in.
    ///
    /// @throws InputException when the recipe is for another kind of device, or the device does not
    ///   compute in the recipe's type
    public Recipe on(Device target) {
        DeviceKind kind = DeviceKind.of(target);
        if (device != null && device != kind) {
            throw new InputException(
                    "device: " + device.label(),
                    "the recipe is for another device than " + target.name(),
                    "give --device " + device.label() + ", or change the recipe's 'device'");
        }
        ComputeType type = model.typeOn(target);
        type.requireOn(target);
        return with(seed, kind, model.with(type));
    }

    /// The recipe for another kind of device.
    public Recipe withDevice(DeviceKind other) {
        return with(seed, other, model);
    }

    /// The recipe with another seed.
    public Recipe withSeed(long other) {
        return with(other, device, model);
    }

    private Recipe with(long newSeed, @Nullable DeviceKind newDevice, ModelRecipe newModel) {
        return new Recipe(
                name,
                newSeed,
                newDevice,
                newModel,
                data,
                reward,
                entropy,
                evaluation,
                selection,
                keepCheckpoints,
                stages);
    }
}
