package dev.saccade.rl;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/// The house's rules that a compiler does not check.
@AnalyzeClasses(
        packages = "dev.saccade",
        importOptions = {ImportOption.DoNotIncludeTests.class})
final class ArchitectureTest {

    @ArchTest
    static final ArchRule EACH_MODULE_USES_ONLY_THOSE_BEFORE_IT =
            layeredArchitecture()
                    .consideringOnlyDependenciesInLayers()
                    .layer("engine")
                    .definedBy("dev.saccade.engine..")
                    .layer("kernels")
                    .definedBy("dev.saccade.kernels..")
                    .layer("tensor")
                    .definedBy("dev.saccade.tensor..")
                    .layer("model")
                    .definedBy("dev.saccade.model..")
                    .layer("rl")
                    .definedBy("dev.saccade.rl..")
                    .whereLayer("rl")
                    .mayNotBeAccessedByAnyLayer()
                    .whereLayer("model")
                    .mayOnlyBeAccessedByLayers("rl")
                    .whereLayer("tensor")
                    .mayOnlyBeAccessedByLayers("model", "rl")
                    .whereLayer("kernels")
                    .mayOnlyBeAccessedByLayers("tensor", "model", "rl");

    @ArchTest
    static final ArchRule ONLY_THE_ENGINE_CALLS_NATIVE_CODE =
            noClasses()
                    .that()
                    .resideOutsideOfPackage("dev.saccade.engine..")
                    .should()
                    .dependOnClassesThat()
                    .haveFullyQualifiedName("java.lang.foreign.Linker");

    @ArchTest
    static final ArchRule ONLY_KERNELS_TOUCH_HOST_MEMORY_BY_ADDRESS =
            noClasses()
                    .that()
                    .resideOutsideOfPackages("dev.saccade.engine..", "dev.saccade.kernels..")
                    .should()
                    .dependOnClassesThat()
                    .haveFullyQualifiedName("dev.saccade.engine.HostMemory");

    @ArchTest
    static final ArchRule ONLY_THE_COMMAND_LINE_PRINTS =
            noClasses()
                    .that()
                    .resideOutsideOfPackage("dev.saccade.rl.cli..")
                    .should()
                    .accessField(System.class, "out")
                    .orShould()
                    .accessField(System.class, "err");

    @ArchTest
    static final ArchRule NAMES_SAY_WHAT_A_CLASS_IS =
            classes()
                    .should()
                    .haveNameNotMatching(".*(Utils?|Manager|Helper|Impl)$")
                    .because("such a name says nothing");
}
