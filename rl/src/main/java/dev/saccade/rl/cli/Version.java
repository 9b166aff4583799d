package dev.saccade.rl.cli;

/// The version that is running.
final class Version {
    private Version() {}

    /// The jar's version, or `development` when classes run from a folder.
    static String current() {
        String version = Version.class.getPackage().getImplementationVersion();
        return version == null ? "development" : version;
    }
}
