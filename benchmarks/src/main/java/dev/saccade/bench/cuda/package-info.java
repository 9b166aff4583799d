/// JMH suites that need a CUDA device; they are left out where there is none.
package dev.saccade.bench.cuda;
