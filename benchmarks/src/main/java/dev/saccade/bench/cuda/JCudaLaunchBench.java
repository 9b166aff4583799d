package dev.saccade.bench.cuda;

import org.openjdk.jmh.annotations.Fork;

/// [LaunchBench] with JCuda as the engine's binding.
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "-Dsaccade.cuda.driver=jcuda"
        })
public class JCudaLaunchBench extends LaunchBench {}
