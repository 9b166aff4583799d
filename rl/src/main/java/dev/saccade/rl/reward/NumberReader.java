package dev.saccade.rl.reward;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Reads a number with its unit from a cleaned answer, exactly.
final class NumberReader {
    /// Powers of ten beyond this are text.
    private static final int LARGEST_EXPONENT = 400;

    private static final String DIGITS =
            "(?:\\d{1,3}(?:,\\d{3})+(?!\\d)|\\d{1,3}(?:"
                    + " \\d{3})+(?![\\d/])|\\d++)(?:\\.\\d*+)?+|\\.\\d++";
    private static final String POWER =
            "(?:[eE]([+-]?\\d{1,3})(?![\\d.])| ?\\* ?10 ?\\^ ?\\{?([+-]?\\d{1,3})\\}?(?!\\d))?";
    private static final String SIGN = "([+-]?) ?([$€£¥]?) ?";

    private static final Pattern DECIMAL =
            Pattern.compile(SIGN + "(" + DIGITS + ")" + POWER + "(?! ?/ ?[\\d(+-])(.*)");
    private static final Pattern SLASHED =
            Pattern.compile(
                    SIGN + "(?:(\\d++) (?=\\d))?(" + DIGITS + ") ?/ ?([+-]?)(" + DIGITS + ")(.*)");
    private static final Pattern STACKED =
            Pattern.compile(
                    SIGN
                            + "(\\d++)? ?\\\\frac ?(?:\\{ ?([+-]?)("
                            + DIGITS
                            + ") ?\\}|(?<n>\\d)) ?(?:\\{ ?([+-]?)("
                            + DIGITS
                            + ") ?\\}|(?<d>\\d))(.*)");
    private static final Pattern UNIT =
            Pattern.compile(
                    "( ?)((?:(?:square|sq\\.?|cubic|cu\\.?) )?[\\p{L}$€£¥]++(?:\\^\\{?-?\\d\\}?)?"
                            + "(?: ?[/*] ?\\p{L}++(?:\\^\\{?-?\\d\\}?)?)*+)");

    /// Words behind a number that are no unit but change its value, or make a sentence of it.
    private static final Set<String> NO_UNITS =
            Set.of(
                    "hundred",
                    "thousand",
                    "million",
                    "billion",
                    "trillion",
                    "dozen",
                    "pi",
                    "sqrt",
                    "or",
                    "and",
                    "to",
                    "times",
                    "over",
                    "plus",
                    "minus",
                    "half",
                    "halves",
                    "thirds",
                    "quarters",
                    "factorial",
                    "mod",
                    "choose");

    private static final Map<String, String> UNIT_NAMES =
            Map.ofEntries(
                    Map.entry("meter", "m"),
                    Map.entry("metre", "m"),
                    Map.entry("centimeter", "cm"),
                    Map.entry("centimetre", "cm"),
                    Map.entry("millimeter", "mm"),
                    Map.entry("millimetre", "mm"),
                    Map.entry("kilometer", "km"),
                    Map.entry("kilometre", "km"),
                    Map.entry("gram", "g"),
                    Map.entry("kilogram", "kg"),
                    Map.entry("liter", "l"),
                    Map.entry("litre", "l"),
                    Map.entry("milliliter", "ml"),
                    Map.entry("millilitre", "ml"),
                    Map.entry("second", "s"),
                    Map.entry("sec", "s"),
                    Map.entry("minute", "min"),
                    Map.entry("hour", "h"),
                    Map.entry("hr", "h"),
                    Map.entry("newton", "n"),
                    Map.entry("joule", "j"),
                    Map.entry("watt", "w"),
                    Map.entry("volt", "v"),
                    Map.entry("ampere", "a"),
                    Map.entry("amp", "a"),
                    Map.entry("ohm", "ω"),
                    Map.entry("degree", "°"),
                    Map.entry("deg", "°"),
                    Map.entry("dollar", "$"),
                    Map.entry("euro", "€"),
                    Map.entry("pound", "£"),
                    Map.entry("yen", "¥"),
                    Map.entry("feet", "ft"),
                    Map.entry("foot", "ft"),
                    Map.entry("inch", "in"),
                    Map.entry("inches", "in"));

    /// One letter behind a number is mostly a variable; these are units when a blank is between.
    private static final String ONE_LETTER_UNITS = "mgshlLNJWVAKCΩFT$€£¥";

    /// Units that may stand right behind the number.
    private static final Set<String> ATTACHED_UNITS =
            Set.of(
                    "cm", "mm", "km", "nm", "kg", "mg", "ml", "mL", "ms", "min", "hr", "ft", "in",
                    "mph", "Hz", "kHz", "MHz", "kJ", "kW", "kPa", "Pa", "mol", "eV", "deg");

    /// A number and what it counts.
    ///
    /// @param numerator in lowest terms
    /// @param denominator above 0
    /// @param percent whether a percent sign follows; not part of the fraction
    /// @param unit in its normal form; empty when there is none
    record Quantity(BigInteger numerator, BigInteger denominator, boolean percent, String unit) {
        private static final BigInteger HUNDRED = BigInteger.valueOf(100);

        boolean matches(Quantity other) {
            if (!unit.isEmpty() && !other.unit.isEmpty() && !unit.equals(other.unit)) {
                return false;
            }
            return sameFraction(numerator, denominator, other)
                    || (percent
                            && !other.percent
                            && sameFraction(numerator, denominator.multiply(HUNDRED), other))
                    || (other.percent
                            && !percent
                            && sameFraction(numerator.multiply(HUNDRED), denominator, other));
        }

        private static boolean sameFraction(BigInteger over, BigInteger under, Quantity other) {
            return over.multiply(other.denominator).equals(other.numerator.multiply(under));
        }
    }

    /// What follows a number.
    private record Ending(boolean percent, String unit) {}

    private NumberReader() {}

    /// The number that an answer is; null when it is something else.
    static @Nullable Quantity read(String clean) {
        if (clean.length() > AnswerText.LONGEST) {
            return null;
        }
        Matcher slashed = SLASHED.matcher(clean);
        if (slashed.matches()) {
            return mixed(
                    slashed.group(1),
                    slashed.group(2),
                    slashed.group(3),
                    decimal(slashed.group(4)),
                    signed(slashed.group(5), decimal(slashed.group(6))),
                    slashed.group(7));
        }
        Matcher stacked = STACKED.matcher(clean);
        if (stacked.matches()) {
            return mixed(
                    stacked.group(1),
                    stacked.group(2),
                    stacked.group(3),
                    stacked.group("n") == null
                            ? signed(stacked.group(4), decimal(stacked.group(5)))
                            : decimal(stacked.group("n")),
                    stacked.group("d") == null
                            ? signed(stacked.group(7), decimal(stacked.group(8)))
                            : decimal(stacked.group("d")),
                    stacked.group(10));
        }
        Matcher decimal = DECIMAL.matcher(clean);
        if (decimal.matches()) {
            @Nullable String power = decimal.group(4) == null ? decimal.group(5) : decimal.group(4);
            return quantity(
                    decimal.group(1),
                    decimal.group(2),
                    scaled(decimal(decimal.group(3)), power),
                    BigDecimal.ONE,
                    decimal.group(6));
        }
        return null;
    }

    private static BigDecimal decimal(String digits) {
        return new BigDecimal(digits.replace(",", "").replace(" ", ""));
    }

    private static BigDecimal signed(String sign, BigDecimal value) {
        return sign.equals("-") ? value.negate() : value;
    }

    private static @Nullable BigDecimal scaled(BigDecimal value, @Nullable String power) {
        if (power == null) {
            return value;
        }
        int exponent = Integer.parseInt(power);
        return Math.abs(exponent) > LARGEST_EXPONENT ? null : value.scaleByPowerOfTen(exponent);
    }

    private static @Nullable Quantity mixed(
            String sign,
            String currency,
            @Nullable String whole,
            BigDecimal over,
            BigDecimal under,
            String rest) {
        BigDecimal total = whole == null ? over : over.add(decimal(whole).multiply(under));
        return quantity(sign, currency, total, under, rest);
    }

    private static @Nullable Quantity quantity(
            String sign,
            String currency,
            @Nullable BigDecimal over,
            BigDecimal under,
            String rest) {
        @Nullable Ending ending = ending(rest);
        if (over == null
                || under.signum() == 0
                || ending == null
                || (!currency.isEmpty() && !ending.unit().isEmpty())) {
            return null;
        }
        int scale = Math.max(0, Math.max(over.scale(), under.scale()));
        BigInteger numerator = over.scaleByPowerOfTen(scale).toBigIntegerExact();
        BigInteger denominator = under.scaleByPowerOfTen(scale).toBigIntegerExact();
        if (denominator.signum() < 0) {
            numerator = numerator.negate();
            denominator = denominator.negate();
        }
        BigInteger common = numerator.gcd(denominator);
        BigInteger reduced = numerator.divide(common);
        return new Quantity(
                sign.equals("-") ? reduced.negate() : reduced,
                denominator.divide(common),
                ending.percent(),
                currency.isEmpty() ? ending.unit() : currency);
    }

    /// The unit behind a number; null when what is there is no unit.
    private static @Nullable Ending ending(String rest) {
        String stripped = rest.strip();
        if (stripped.isEmpty()) {
            return new Ending(false, "");
        }
        if (stripped.equals("%") || stripped.equals("percent") || stripped.equals("per cent")) {
            return new Ending(true, "");
        }
        Matcher matcher = UNIT.matcher(rest.stripTrailing());
        if (!matcher.matches()) {
            return null;
        }
        String unit = matcher.group(2);
        boolean attached = matcher.group(1).isEmpty();
        boolean known =
                attached
                        ? ATTACHED_UNITS.contains(unit.replaceFirst("[\\^/*].*", ""))
                        : unit.replaceFirst("[\\^/* ].*", "").length() > 1
                                || ONE_LETTER_UNITS.indexOf(unit.charAt(0)) >= 0;
        return known && !NO_UNITS.contains(unit.toLowerCase(Locale.ROOT))
                ? new Ending(false, normalUnit(unit))
                : null;
    }

    private static String normalUnit(String unit) {
        String text = unit.toLowerCase(Locale.ROOT).replaceAll("[{}]", "");
        String power = "";
        Matcher prefix = Pattern.compile("(square|sq\\.?|cubic|cu\\.?) (.*)").matcher(text);
        if (prefix.matches()) {
            power = prefix.group(1).startsWith("sq") ? "^2" : "^3";
            text = prefix.group(2);
        }
        StringBuilder normal = new StringBuilder();
        Matcher part = Pattern.compile("\\p{L}+|[^\\p{L} ]+").matcher(text);
        while (part.find()) {
            normal.append(singular(part.group()));
        }
        return normal.append(power).toString();
    }

    private static String singular(String word) {
        @Nullable String name = UNIT_NAMES.get(word);
        if (name != null) {
            return name;
        }
        if (word.length() > 3 && word.endsWith("s")) {
            String one = word.substring(0, word.length() - 1);
            return UNIT_NAMES.getOrDefault(one, one);
        }
        return word;
    }
}
