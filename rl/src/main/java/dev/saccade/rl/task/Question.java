package dev.saccade.rl.task;

/// A question about a picture.
///
/// @param dataSource what it is about
/// @param text the question
/// @param work what follows from the digits once they are read, up to the answer: `4+5=9.`
/// @param answer the right answer
record Question(String dataSource, String text, String work, String answer) {
    /// Asks for nothing but the digits.
    static Question read(DigitGrid grid) {
        return new Question("read", "Read the digits.", "", grid.reading());
    }
}
