package dev.saccade.rl.recipe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.model.ComputeType;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.rl.loss.LossAggregation;
import dev.saccade.tensor.ParameterGroup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

final class RecipeTest {
    private static final String SMALL =
            """
            name: small
            data: {folder: rows}
            stages:
              - name: first
                kind: sft
                data: a.jsonl
                steps: 3
                train_batch_size: 4
                optim: {lr: 1e-3}
              - name: second
                kind: grpo
                data: b.jsonl
                steps: 2
                train_batch_size: 2
                trainable: [language, vision]
                rollout: {n: 4}
                clip_ratio: 0.3
                optim: {lr: 1.0e-4, schedule: cosine, lr_warmup_steps: 1}
            """;

    private static Recipe parse(String yaml, String... overrides) {
        return Recipe.parse(yaml, "small.yaml", Path.of("/base"), List.of(overrides));
    }

    private static String fault(String yaml, String... overrides) {
        try {
            parse(yaml, overrides);
        } catch (InputException e) {
            return String.valueOf(e.getMessage());
        }
        throw new AssertionError("the recipe is accepted:\n" + yaml);
    }

    @Test
    void entropiesAreCountedAsTheRecipeSays() {
        assertThat(parse(SMALL).entropy())
                .isEqualTo(EntropyRecipe.of(List.of("Wait", "Alternatively", "Hmm")));
        Recipe own =
                parse(
                        SMALL,
                        "entropy.critical_words=[But, Now]",
                        "entropy.threshold=3",
                        "entropy.critical_mass=0.2",
                        "entropy.histogram_edges=[0, 0.5, 6]");
        assertThat(own.entropy())
                .isEqualTo(
                        new EntropyRecipe(List.of("But", "Now"), 3, 0.2, List.of(0.0, 0.5, 6.0)));
        assertThat(parse(own.toYaml()).entropy()).isEqualTo(own.entropy());
        Recipe longer = parse(SMALL, "entropy.critical_words=[long-list, Actually, But]");
        assertThat(longer.entropy().criticalWords())
                .hasSize(CriticalTokens.LONG_LIST.size() + 1)
                .containsAll(CriticalTokens.LONG_LIST)
                .endsWith("Actually");
        assertThat(parse(longer.toYaml()).entropy()).isEqualTo(longer.entropy());
        assertThat(parse(SMALL, "entropy.critical_words=long-list").entropy().criticalWords())
                .isEqualTo(CriticalTokens.LONG_LIST);
        assertThat(fault(SMALL, "entropy.critical_mass=2")).contains("entropy.critical_mass");
        for (String edges : List.of("[]", "[1, 2]", "[0, 2, 2]", "[0, 2, 1]")) {
            assertThat(fault(SMALL, "entropy.histogram_edges=" + edges))
                    .contains("'entropy.histogram_edges' is not a list of ascending edges");
        }
        assertThat(fault(SMALL, "entropy.histogram_edges=[0, x]")).contains("not a number");
    }

    @Test
    void readsWhatItSaysAndFillsInTheRest() {
        Recipe recipe = parse(SMALL);
        assertThat(recipe.seed()).isEqualTo(1);
        assertThat(recipe.data().folder()).isEqualTo("/base/rows");
        assertThat(recipe.totalSteps()).isEqualTo(5);
        StageRecipe first = recipe.stages().getFirst();
        assertThat(first.optim().lr()).isEqualTo(1e-3);
        assertThat(first.microBatchSize()).isEqualTo(4);
        assertThat(first.trainable()).containsExactly(ParameterGroup.values());
        assertThat(first.policy()).isNull();
        StageRecipe second = recipe.stages().getLast();
        assertThat(second.microBatchSize()).isEqualTo(8);
        assertThat(second.trainable())
                .containsExactly(ParameterGroup.VISION, ParameterGroup.LANGUAGE);
        PolicyRecipe policy = second.policy();
        assertThat(policy).isNotNull();
        assertThat(policy.clipRatioLow()).isEqualTo(0.3);
        assertThat(policy.clipRatioHigh()).isEqualTo(0.3);
        assertThat(policy.clipRatioC()).isEqualTo(3);
        assertThat(policy.lossAggMode()).isEqualTo(LossAggregation.SEQ_MEAN_TOKEN_MEAN);
    }

    @Test
    void overridesNameStagesByNameOrIndex() {
        Recipe recipe =
                parse(
                        SMALL,
                        "stages.second.optim.lr=2e-5",
                        "stages.0.steps=7",
                        "stages.first.trainable=[connector]",
                        "evaluation.temperature=0.6",
                        "seed=9");
        assertThat(recipe.stages().getLast().optim().lr()).isEqualTo(2e-5);
        assertThat(recipe.stages().getFirst().steps()).isEqualTo(7);
        assertThat(recipe.stages().getFirst().trainable())
                .containsExactly(ParameterGroup.CONNECTOR);
        assertThat(recipe.evaluation().temperature()).isEqualTo(0.6);
        assertThat(recipe.seed()).isEqualTo(9);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            textBlock =
                    """
                    steps: 3    | stpes: 3            | small.yaml line 7: unknown key 'stages.first.stpes'; did you mean 'steps'?
                    lr: 1e-3    | learning: 1e-3      | small.yaml line 9: unknown key 'stages.first.optim.learning'; did you mean
                    steps: 3    | steps: three        | small.yaml line 7: 'stages.first.steps' is 'three', not a whole number
                    steps: 3    | steps: 0            | small.yaml line 7: 'stages.first.steps' is 0, out of range; use 1 to
                    steps: 3    | steps: [3]          | small.yaml line 7: 'stages.first.steps' is a list where one value belongs
                    lr: 1e-3    | lr: -1              | small.yaml line 9: 'stages.first.optim.lr' is -1, out of range; use 0.0 to 10.0
                    lr: 1e-3    | lr: NaN             | small.yaml line 9: 'stages.first.optim.lr' is NaN, out of range
                    kind: sft   | kind: stf           | small.yaml line 5: 'stages.first.kind' is 'stf', which is not known; did you mean 'sft'?
                    kind: sft   | kind: connector, trainable: [vision] | small.yaml line 5: not YAML
                    kind: grpo  | kind: sft           | small.yaml line 16: 'stages.second.rollout' is a key of grpo stages
                    [language, vision] | [language, visoin] | small.yaml line 15: 'stages.second.trainable' is 'visoin', which is not known; did you mean 'vision'?
                    [language, vision] | []           | small.yaml line 15: 'stages.second.trainable' is empty
                    name: second| name: first         | small.yaml line 10: a second stage is called 'first'
                    optim: {lr: 1e-3} | optim: 5      | small.yaml line 9: 'stages.first.optim' is '5', not a section
                    data: b.jsonl | eval_data: b.jsonl | small.yaml line 10: 'stages.second.data' is missing; add it
                    name: small | nmae: small         | small.yaml line 1: unknown key 'nmae'; did you mean 'name'?
                    name: small | 'name: [small'      | not YAML
                    """)
    void aFaultNamesKeyLineAndCure(String from, String to, String message) {
        assertThat(SMALL).contains(from);
        String cured = to.startsWith("'") ? to.substring(1, to.length() - 1) : to;
        String fault = fault(SMALL.replaceFirst(java.util.regex.Pattern.quote(from), cured));
        assertThat(fault).contains(message);
        assertThat(fault.lines()).hasSize(1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            textBlock =
                    """
                    stages.third.steps=3     | --set stages.third.steps: there is no 'third' in the list; use one of first, second
                    stages.first.stpes=3     | --set stages.first.stpes: unknown key 'stages.first.stpes'; did you mean 'steps'?
                    stages.first.steps=x     | --set stages.first.steps: 'stages.first.steps' is 'x', not a whole number
                    stages.first.steps.a=1   | --set stages.first.steps.a: 'steps' has no keys below it
                    seed                     | --set seed: not of the form key=value
                    """)
    void aFaultInAnOverrideNamesIt(String override, String message) {
        assertThat(fault(SMALL, override)).contains(message);
    }

    @Test
    void deviceAndTypeAreLeftOpenOrNamedAndComeOutOnADevice() {
        Recipe open = parse(SMALL);
        assertThat(open.device()).isNull();
        assertThat(open.model().type()).isNull();
        assertThat(open.toYaml()).contains("device: \"auto\"", "dtype: \"auto\"");
        Recipe named = parse(SMALL, "device=cuda", "model.dtype=bfloat16");
        assertThat(named.device()).isEqualTo(DeviceKind.CUDA);
        assertThat(named.model().type()).isEqualTo(ComputeType.BFLOAT16);
        assertThat(parse(named.toYaml())).isEqualTo(named);
        try (HostDevice cpu = HostDevice.open(1)) {
            Recipe resolved = open.on(cpu);
            assertThat(resolved.device()).isEqualTo(DeviceKind.CPU);
            assertThat(resolved.model().type()).isEqualTo(ComputeType.FLOAT32);
            assertThat(parse(resolved.toYaml()).on(cpu)).isEqualTo(resolved);
            assertThatThrownBy(() -> named.on(cpu))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("the recipe is for another device than cpu");
            assertThatThrownBy(() -> named.withDevice(DeviceKind.CPU).on(cpu))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("bfloat16 on cpu");
        }
        assertThat(fault(SMALL, "model.dtype=float16"))
                .contains("'model.dtype' is 'float16', which is not known");
    }

    @Test
    void aConnectorStageTrainsTheConnectorAlone() {
        String connector = SMALL.replace("kind: sft", "kind: connector");
        assertThat(parse(connector).stages().getFirst().trainable())
                .containsExactly(ParameterGroup.CONNECTOR);
        assertThat(fault(connector, "stages.first.trainable=[connector, vision]"))
                .contains("a connector stage trains the connector alone");
    }

    @Test
    void aKeyTwiceIsAFault() {
        assertThat(fault(SMALL.replace("steps: 3", "steps: 3\n    steps: 4"))).contains("steps");
    }

    @ParameterizedTest
    @MethodSource("dev.saccade.rl.recipe.Recipe#builtIn")
    void aBuiltInRecipeReadsBackFromItsResolvedForm(String name, @TempDir Path folder)
            throws IOException {
        Recipe recipe = Recipe.load(name, List.of());
        assertThat(recipe.name()).isEqualTo(name);
        Path file = folder.resolve("config.yaml");
        Files.writeString(file, recipe.toYaml());
        assertThat(Recipe.read(file).toYaml()).isEqualTo(recipe.toYaml());
        assertThat(Recipe.read(file)).isEqualTo(recipe);
    }

    @Test
    void anAblationDiffersFromTheQuickStartWhereItSaysSo() {
        Recipe quick = Recipe.load("quick", List.of());
        Recipe frozen = Recipe.load("freeze-connector-rl", List.of());
        StageRecipe grpo = frozen.stages().get(2);
        assertThat(grpo.trainable())
                .containsExactly(ParameterGroup.VISION, ParameterGroup.LANGUAGE);
        List<String> differing =
                quick.toYaml()
                        .lines()
                        .filter(line -> frozen.toYaml().lines().noneMatch(line::equals))
                        .toList();
        assertThat(differing).containsExactly("name: \"quick\"");
        assertThat(Recipe.load("no-cold-start", List.of()).stages())
                .containsExactly(
                        quick.stages().get(0), quick.stages().get(2), quick.stages().get(3));
    }

    @Test
    void aMissingFileSaysWhatThereIs() {
        assertThatThrownBy(() -> Recipe.load("nothing.yaml", List.of()))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("there is no such recipe")
                .hasMessageContaining("quick");
    }

    @Test
    void pathsStartAtTheRecipesFolder(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("r.yaml");
        Files.writeString(file, SMALL);
        assertThat(Recipe.load(file.toString(), List.of()).data().folder())
                .isEqualTo(folder.resolve("rows").toString());
    }

    @Test
    void amixtureHasToAddUp() {
        String yaml =
                SMALL.replace(
                        "data: {folder: rows}",
                        "data: {task: digits, digits: {mixture: {guess: 0.5, plain: 0.4}}}");
        assertThat(fault(yaml)).contains("'data.digits.mixture' is not a mixture");
        assertThat(fault(SMALL.replace("{folder: rows}", "{folder: a, task: digits}")))
                .contains("given together with a task");
    }
}
