package dev.saccade.rl.task;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.zip.GZIPInputStream;

/// 10,000 real handwritten digits of 28x28 pixels, 0 for paper and 255 for ink (a part of MNIST;
/// `handwriting-LICENSE.txt` beside the resource says where they come from). Every tenth image of
/// each digit is held out: three quarters of these are for the test, the rest for validation, so no
/// picture that a model is judged by shows handwriting that it was trained on.
public final class Handwriting {
    /// Width and height of an image.
    public static final int SIZE = 28;

    /// SHA-256 of the labels and pixels.
    public static final String SHA256 =
            "f2fccb433e40f48c953b310612677d9ca6ae331f87cf00558b1414c272b5cbc9";

    private static final String RESOURCE = "handwriting.gz";
    private static final int COUNT = 10_000;
    private static final int HELD_OUT_EVERY = 10;
    private static final int VALIDATION_EVERY = 4;

    /// What an image may be used for.
    public enum Split {
        /// Nine of ten.
        TRAIN,
        /// A quarter of the held-out tenth.
        VALIDATION,
        /// The rest of it.
        TEST
    }

    private final byte[] bytes;

    /// For each split and digit, the places of its images in the file.
    private final Map<Split, List<List<Integer>>> images = new EnumMap<>(Split.class);

    private Handwriting(byte[] bytes) {
        this.bytes = bytes;
        for (Split split : Split.values()) {
            List<List<Integer>> ofDigit = new ArrayList<>();
            for (int digit = 0; digit < 10; digit++) {
                ofDigit.add(new ArrayList<>());
            }
            images.put(split, ofDigit);
        }
        int[] seen = new int[10];
        for (int image = 0; image < COUNT; image++) {
            int digit = bytes[image];
            imagesOf(splitOf(seen[digit]++), digit).add(image);
        }
    }

    /// Reads the digits from the class path and checks that they are whole.
    public static Handwriting read() {
        try (InputStream resource = Handwriting.class.getResourceAsStream(RESOURCE)) {
            if (resource == null) {
                throw new IllegalStateException(RESOURCE + " is not on the class path");
            }
            byte[] bytes =
                    new GZIPInputStream(new ByteArrayInputStream(resource.readAllBytes()))
                            .readAllBytes();
            String digest =
                    HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
            if (!digest.equals(SHA256)) {
                throw new IllegalStateException(
                        "%s has SHA-256 %s, not %s".formatted(RESOURCE, digest, SHA256));
            }
            return new Handwriting(bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(RESOURCE + " can't be read", e);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /// How many images of a digit a split has.
    public int count(Split split, int digit) {
        return imagesOf(split, digit).size();
    }

    /// The ink at a pixel, 0..255.
    ///
    /// @param index which of the digit's images in the split
    public int ink(Split split, int digit, int index, int x, int y) {
        int image = imagesOf(split, digit).get(index);
        return bytes[COUNT + (image * SIZE + y) * SIZE + x] & 0xff;
    }

    private List<Integer> imagesOf(Split split, int digit) {
        return Objects.requireNonNull(images.get(split)).get(digit);
    }

    private static Split splitOf(int indexInDigit) {
        if (indexInDigit % HELD_OUT_EVERY != HELD_OUT_EVERY - 1) {
            return Split.TRAIN;
        }
        return indexInDigit / HELD_OUT_EVERY % VALIDATION_EVERY == VALIDATION_EVERY - 1
                ? Split.VALIDATION
                : Split.TEST;
    }
}
