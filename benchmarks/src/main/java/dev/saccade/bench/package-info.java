/// JMH suites.
package dev.saccade.bench;
