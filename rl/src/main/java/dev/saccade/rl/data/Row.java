package dev.saccade.rl.data;

import dev.saccade.model.chat.Message;
import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.image.RgbImage;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One question with its pictures and its answer, in verl's schema. Pictures are files that are
/// read when they are needed.
///
/// @param dataSource what set or subject the row belongs to; metrics are kept for each
/// @param prompt the conversation up to the answer; `<image>` stands for a picture
/// @param images the pictures' files, in the order of the `<image>` in the prompt
/// @param ability the kind of task, `digits` or `math` for instance; may be empty
/// @param rewardStyle how to reward: `rule`
/// @param groundTruth the right answer
/// @param extraInfo anything else a reward may want to know
/// @param response what a supervised stage teaches, without the prompt's end and without the token
///   that ends the turn; null in rows that only ask
/// @param origin the file and line that the row comes from, for messages
public record Row(
        String dataSource,
        List<Message> prompt,
        List<Path> images,
        String ability,
        String rewardStyle,
        String groundTruth,
        Map<String, Object> extraInfo,
        @Nullable String response,
        String origin) {

    /// Reads the row's pictures. A damaged one is an [dev.saccade.engine.InputException] that names
    /// the row and the file.
    public List<RgbImage> loadImages() {
        List<RgbImage> loaded = new ArrayList<>(images.size());
        for (Path image : images) {
            loaded.add(ImageLoader.read(image, origin + ": image " + image));
        }
        return loaded;
    }
}
