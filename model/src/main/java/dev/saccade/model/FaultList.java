package dev.saccade.model;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Faults of a checkpoint's tensors in one line. The same fault in several layers is said once,
/// with the layers' numbers: `missing layers.{0-63}.self_attn.q_proj.bias`.
final class FaultList {
    private static final Pattern LAYER = Pattern.compile("(\\blayers?\\.)(\\d{1,6})(\\.)");

    /// How many faults are named before the others are counted.
    private static final int NAMED = 24;

    /// Characters of a fault, of which a file's names may be any number.
    private static final int LONGEST = 300;

    /// A fault around the number of its layer; without a layer, `after` is empty and so is its set.
    private record Text(String before, String after) {}

    private final Map<Text, TreeSet<Integer>> faults = new LinkedHashMap<>();
    private int count;

    void add(String text) {
        count++;
        String fault = text.length() <= LONGEST ? text : text.substring(0, LONGEST - 3) + "...";
        Matcher layer = LAYER.matcher(fault);
        if (layer.find()) {
            faults.computeIfAbsent(
                            new Text(
                                    fault.substring(0, layer.end(1)),
                                    fault.substring(layer.end(2))),
                            _ -> new TreeSet<>())
                    .add(Integer.parseInt(layer.group(2)));
        } else {
            faults.computeIfAbsent(new Text(fault, ""), _ -> new TreeSet<>());
        }
    }

    boolean isEmpty() {
        return count == 0;
    }

    @Override
    public String toString() {
        List<String> named = new ArrayList<>();
        int counted = 0;
        for (Map.Entry<Text, TreeSet<Integer>> entry : faults.entrySet()) {
            if (named.size() == NAMED) {
                break;
            }
            SortedSet<Integer> layers = entry.getValue();
            Text text = entry.getKey();
            named.add(text.before() + (layers.isEmpty() ? "" : ranges(layers)) + text.after());
            counted += Math.max(1, layers.size());
        }
        String all = String.join(", ", named);
        return counted < count ? all + " and " + (count - counted) + " more" : all;
    }

    /// `7`, `{0-3}` or `{0-3,5}`.
    private static String ranges(SortedSet<Integer> numbers) {
        if (numbers.size() == 1) {
            return numbers.getFirst().toString();
        }
        StringBuilder text = new StringBuilder("{");
        int first = -1;
        int last = -2;
        for (int number : numbers) {
            if (number != last + 1) {
                append(text, first, last);
                first = number;
            }
            last = number;
        }
        append(text, first, last);
        return text.append('}').toString();
    }

    private static void append(StringBuilder text, int first, int last) {
        if (first < 0) {
            return;
        }
        if (text.length() > 1) {
            text.append(',');
        }
        text.append(first);
        if (last > first) {
            text.append('-').append(last);
        }
    }
}
