package dev.saccade.rl.report;

/// The shapes that tell series apart where colours can't.
enum Marker {
    CIRCLE,
    SQUARE,
    TRIANGLE,
    DIAMOND,
    DOWN,
    CROSS;

    /// The shape of the series with a number.
    static Marker of(int index) {
        return values()[Math.floorMod(index, values().length)];
    }

    /// Draws it.
    ///
    /// @param radius its size
    void draw(Html svg, double x, double y, double radius, String cssClass) {
        double r = radius;
        String path =
                switch (this) {
                    case CIRCLE -> {
                        svg.empty(
                                "circle",
                                "class",
                                cssClass,
                                "cx",
                                Numbers.coordinate(x),
                                "cy",
                                Numbers.coordinate(y),
                                "r",
                                Numbers.coordinate(r));
                        yield "";
                    }
                    case SQUARE -> polygon(x - r, y - r, x + r, y - r, x + r, y + r, x - r, y + r);
                    case TRIANGLE ->
                            polygon(x, y - 1.2 * r, x + 1.2 * r, y + r, x - 1.2 * r, y + r);
                    case DIAMOND ->
                            polygon(x, y - 1.4 * r, x + 1.4 * r, y, x, y + 1.4 * r, x - 1.4 * r, y);
                    case DOWN -> polygon(x, y + 1.2 * r, x + 1.2 * r, y - r, x - 1.2 * r, y - r);
                    case CROSS ->
                            polygon(
                                    x - r, y - r / 3, x - r / 3, y - r / 3, x - r / 3, y - r,
                                    x + r / 3, y - r, x + r / 3, y - r / 3, x + r, y - r / 3, x + r,
                                    y + r / 3, x + r / 3, y + r / 3, x + r / 3, y + r, x - r / 3,
                                    y + r, x - r / 3, y + r / 3, x - r, y + r / 3);
                };
        if (!path.isEmpty()) {
            svg.empty("path", "class", cssClass, "d", path);
        }
    }

    private static String polygon(double... points) {
        StringBuilder path = new StringBuilder();
        for (int i = 0; i < points.length; i += 2) {
            path.append(i == 0 ? "M" : "L")
                    .append(Numbers.coordinate(points[i]))
                    .append(' ')
                    .append(Numbers.coordinate(points[i + 1]));
        }
        return path.append('Z').toString();
    }
}
