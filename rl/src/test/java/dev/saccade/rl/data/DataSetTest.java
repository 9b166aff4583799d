package dev.saccade.rl.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import dev.saccade.model.chat.Message;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class DataSetTest {
    private static final String GOOD =
            """
            {"data_source":"sum","prompt":[{"role":"user","content":"Sum?<image>"}],\
            "images":[{"path":"a.png"}],"ability":"digits",\
            "reward_model":{"style":"rule","ground_truth":"9"},\
            "extra_info":{"index":7,"split":"train"},"response":"I see 45."}\
            """;

    @TempDir Path folder = Path.of("");

    @BeforeEach
    void picture() throws IOException {
        BufferedImage picture = new BufferedImage(2, 3, BufferedImage.TYPE_INT_RGB);
        ImageIO.write(picture, "png", folder.resolve("a.png").toFile());
    }

    @Test
    void aRowHasWhatItsLineSays() {
        DataSet set = read(GOOD + "\n");
        assertThat(set.size()).isEqualTo(1);
        Row row = set.row(0);
        assertThat(row.dataSource()).isEqualTo("sum");
        assertThat(row.prompt()).containsExactly(new Message("user", "Sum?<image>"));
        assertThat(row.images()).containsExactly(folder.resolve("a.png"));
        assertThat(row.ability()).isEqualTo("digits");
        assertThat(row.rewardStyle()).isEqualTo("rule");
        assertThat(row.groundTruth()).isEqualTo("9");
        assertThat(row.extraInfo()).isEqualTo(Map.of("index", 7, "split", "train"));
        assertThat(row.response()).isEqualTo("I see 45.");
        assertThat(row.origin()).isEqualTo(folder.resolve("rows.jsonl") + ": line 1");
        assertThat(row.loadImages())
                .singleElement()
                .satisfies(i -> assertThat(i.height()).isEqualTo(3));
    }

    @Test
    void whatMayBeLeftOutMayBeLeftOut() {
        Row row =
                read("""

                {"data_source":"text","prompt":[{"role":"user","content":"2+2?"}],\
                "reward_model":{"ground_truth":4},"uid":"something else"}
                """)
                        .row(0);
        assertThat(row.images()).isEmpty();
        assertThat(row.ability()).isEmpty();
        assertThat(row.rewardStyle()).isEqualTo("rule");
        assertThat(row.groundTruth()).isEqualTo("4");
        assertThat(row.extraInfo()).isEmpty();
        assertThat(row.response()).isNull();
        assertThat(row.origin()).endsWith("line 2");
    }

    @Test
    void aPictureMayBeAPlainPath() {
        assertThat(read(GOOD.replace("{\"path\":\"a.png\"}", "\"a.png\"")).row(0).images())
                .containsExactly(folder.resolve("a.png"));
    }

    @Test
    void aFaultNamesTheFileTheLineAndTheCure() {
        refuses("{\"data_source\":", "not JSON at column");
        refuses(GOOD + GOOD, "not JSON at column");
        refuses("[1]", "is not a JSON object");
        refuses(GOOD.replace("data_source", "source"), "data_source is missing");
        refuses(GOOD.replace("\"rule\"", "\"model\""), "reward_model.style is 'model'");
        refuses(GOOD.replace("\"sum\"", "3"), "data_source is not a text");
        refuses(GOOD.replace("\"prompt\"", "\"question\""), "prompt is missing");
        refuses(
                GOOD.replace("[{\"role\":\"user\",\"content\":\"Sum?<image>\"}]", "\"Sum?\""),
                "prompt is missing or not a list");
        refuses(GOOD.replace("[{\"role\":\"user\",\"content\":\"Sum?<image>\"}]", "[]"), "prompt");
        refuses(GOOD.replace("\"user\"", "\"human\""), "prompt[0].role \"human\" is not known");
        refuses(GOOD.replace("\"content\"", "\"text\""), "prompt[0].content is missing");
        refuses(GOOD.replace("a.png", "b.png"), "b.png does not exist");
        refuses(GOOD.replace("Sum?<image>", "Sum?"), "the prompt has 0 <image> for 1 picture;");
        refuses(GOOD.replace("[{\"path\":\"a.png\"}]", "\"a.png\""), "images is not a list");
        refuses(GOOD.replace("\"path\"", "\"file\""), "images[0].path is missing");
        refuses(GOOD.replace("\"reward_model\"", "\"reward\""), "reward_model is missing");
        refuses(GOOD.replace("\"ground_truth\"", "\"truth\""), "ground_truth is missing");
        refuses(GOOD.replace("\"9\"", "[9]"), "ground_truth is missing or not a text");
        refuses(
                GOOD.replace("{\"index\":7,\"split\":\"train\"}", "[]"),
                "extra_info is not an object");
        refuses(GOOD.replace("\"I see 45.\"", "5"), "response is not a text");
    }

    @Test
    void aFileThatCantBeReadIsNamed() throws IOException {
        Path missing = folder.resolve("missing.jsonl");
        assertThatThrownBy(() -> DataSet.read(missing))
                .isInstanceOf(InputException.class)
                .hasMessage(missing + ": does not exist; check the path");
        assertThatThrownBy(() -> read("\n\n"))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("rows.jsonl: has no rows; ");
        Path latin = Files.write(folder.resolve("latin.jsonl"), new byte[] {'"', (byte) 0xe9, '"'});
        assertThatThrownBy(() -> DataSet.read(latin))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("is not UTF-8");
    }

    @Test
    void aDamagedPictureNamesItsRow() throws IOException {
        Files.writeString(folder.resolve("a.png"), "no picture");
        Row row = read(GOOD).row(0);
        assertThatThrownBy(row::loadImages)
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(
                        "%s: line 1: image %s: "
                                .formatted(folder.resolve("rows.jsonl"), folder.resolve("a.png")));
    }

    @Test
    void anEpochVisitsEachRowOnceInAnOrderOfItsOwn() {
        DataSet set = read((GOOD + "\n").repeat(100));
        int[] first = set.order(1, 0);
        assertThat(first).isEqualTo(set.order(1, 0));
        assertThat(first).isNotEqualTo(set.order(1, 1)).isNotEqualTo(set.order(2, 0));
        int[] sorted = first.clone();
        Arrays.sort(sorted);
        for (int i = 0; i < 100; i++) {
            assertThat(sorted[i]).isEqualTo(i);
        }
        assertThat(read(GOOD).order(3, 9)).containsExactly(0);
    }

    @Test
    void subjectsAreListedAsTheyAppear() {
        DataSet set =
                read(String.join("\n", List.of(GOOD, GOOD.replace("\"sum\"", "\"count\""), GOOD)));
        assertThat(set.dataSources()).containsExactly("sum", "count");
    }

    private void refuses(String line, String why) {
        assertThatThrownBy(() -> read(GOOD + "\n" + line + "\n"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("rows.jsonl") + ": line 2: ")
                .hasMessageContaining(why)
                .hasMessageContaining("; ");
    }

    private DataSet read(String lines) {
        try {
            return DataSet.read(Files.writeString(folder.resolve("rows.jsonl"), lines));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
