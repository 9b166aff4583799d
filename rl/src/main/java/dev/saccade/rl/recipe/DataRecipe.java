package dev.saccade.rl.recipe;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Where rows come from: a folder of the user's, or a task that is generated into the run.
///
/// @param task `digits`: the quick start's task is written to the run's folder `data`; null = the
///   user's own files
/// @param folder the user's files are named relative to it; null = to the working directory
/// @param digits the sizes of the digits task
/// @param maxTiles the most tiles an image is cut into
public record DataRecipe(
        @Nullable String task, @Nullable String folder, DigitsRecipe digits, int maxTiles) {
    static final String[] KEYS = {"task", "folder", "digits", "max_tiles"};

    static DataRecipe bind(RecipeSection data) {
        String task = data.has("task") ? data.choice("task", Map.of("digits", "digits")) : null;
        if (task == null && data.has("digits")) {
            throw data.wrong("digits", "given without the task", "add task: digits");
        }
        if (task != null && data.has("folder")) {
            throw data.wrong(
                    "folder", "given together with a task", "keep the folder, or the task");
        }
        return new DataRecipe(
                task,
                data.optionalText("folder"),
                DigitsRecipe.bind(data.section("digits", DigitsRecipe.KEYS)),
                data.integer("max_tiles", 12, 1, 1024));
    }

    /// With an absolute folder, so that a run can be resumed from anywhere.
    DataRecipe resolved(@Nullable Path base) {
        if (task != null) {
            return this;
        }
        Path start = base == null ? Path.of("") : base;
        Path absolute = start.resolve(folder == null ? "" : folder).toAbsolutePath().normalize();
        return new DataRecipe(null, absolute.toString(), digits, maxTiles);
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        if (task != null) {
            tree.put("task", task);
            tree.put("digits", digits.toTree());
        }
        if (folder != null) {
            tree.put("folder", folder);
        }
        tree.put("max_tiles", maxTiles);
        return tree;
    }

    /// Where a run's rows are.
    ///
    /// @param run the run's folder
    public Path folder(Path run) {
        return folder == null ? run.resolve("data") : Path.of(folder);
    }
}
