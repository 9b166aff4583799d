import org.jspecify.annotations.NullMarked;

/// Reinforcement learning: data, rewards, rollouts, losses, stages, runs, reports, the command
/// line.
@NullMarked
module dev.saccade.rl {
    requires transitive dev.saccade.model;
    requires info.picocli;
    requires jdk.incubator.vector;
    requires java.desktop;
    requires tools.jackson.databind;
    requires tools.jackson.dataformat.yaml;

    exports dev.saccade.rl.advantage;
    exports dev.saccade.rl.data;
    exports dev.saccade.rl.entropy;
    exports dev.saccade.rl.evaluation;
    exports dev.saccade.rl.loss;
    exports dev.saccade.rl.metrics;
    exports dev.saccade.rl.recipe;
    exports dev.saccade.rl.report;
    exports dev.saccade.rl.reward;
    exports dev.saccade.rl.rollout;
    exports dev.saccade.rl.run;
    exports dev.saccade.rl.stage;
    exports dev.saccade.rl.task;

    // picocli sets annotated fields by reflection
    opens dev.saccade.rl.cli to
            info.picocli;
}
