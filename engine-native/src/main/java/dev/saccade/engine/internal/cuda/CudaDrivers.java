package dev.saccade.engine.internal.cuda;

import org.jspecify.annotations.Nullable;

/// The choice of what talks to the driver: property `saccade.cuda.driver`, `ffm` unless it says
/// otherwise.
///
/// @param binding the one chosen
/// @param driver it, ready to use; null when it can't be used
/// @param driverVersion 13000 for 13.0; 0 where there is no driver
/// @param reason why it can't be used; null when it can
public record CudaDrivers(
        String binding, @Nullable CudaDriver driver, int driverVersion, @Nullable String reason) {

    /// The property that chooses.
    public static final String PROPERTY = "saccade.cuda.driver";

    /// The names it may have.
    public static final String CHOICES = "ffm or jcuda";

    /// The binding that the property chooses; null when it names none.
    public static @Nullable CudaDrivers chosen() {
        return switch (System.getProperty(PROPERTY, "ffm")) {
            case "ffm" -> ffm();
            case "jcuda" -> jcuda();
            default -> null;
        };
    }

    private static CudaDrivers ffm() {
        DriverLibrary library = DriverLibrary.find();
        if (library.reason() != null) {
            return new CudaDrivers("ffm", null, library.driverVersion(), library.reason());
        }
        try {
            CudaDriver driver = new FfmCudaDriver();
            driver.errorName(CudaDriver.SUCCESS); // links every function
            return new CudaDrivers("ffm", driver, library.driverVersion(), null);
        } catch (LinkageError e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            return new CudaDrivers(
                    "ffm", null, library.driverVersion(), String.valueOf(cause.getMessage()));
        }
    }

    private static CudaDrivers jcuda() {
        DriverLibrary library = DriverLibrary.find();
        if (library.reason() != null) {
            return new CudaDrivers("jcuda", null, library.driverVersion(), library.reason());
        }
        try {
            return new CudaDrivers("jcuda", JCuda.DRIVER, library.driverVersion(), null);
        } catch (NoClassDefFoundError _) {
            return new CudaDrivers(
                    "jcuda",
                    null,
                    library.driverVersion(),
                    "JCuda is not on the class path (org.jcuda:jcuda:12.6.0 with jcuda-natives)");
        } catch (LinkageError e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            return new CudaDrivers(
                    "jcuda",
                    null,
                    library.driverVersion(),
                    "JCuda's native library can't be loaded: "
                            + String.valueOf(cause.getMessage()).lines().findFirst().orElse(""));
        }
    }

    /// One for the process: JCuda's handles are numbers of this object's.
    private static final class JCuda {
        static final CudaDriver DRIVER = new JCudaDriver();
    }
}
