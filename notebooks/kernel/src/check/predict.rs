//! Predictions: an answer is chosen before the figure is shown.

use crate::display::{Markdown, md};
use std::fmt::Write;

/// Asks for the number of a choice, 0 as long as there is none; [`tally.py`](../../tally.py) counts what a class has chosen.
pub fn predict(question: &str, choices: &[&str], chosen: usize) -> Markdown {
    let mut text = format!("**{question}**");
    match chosen.checked_sub(1).map(|index| choices.get(index)) {
        Some(Some(choice)) => _ = write!(text, "\n\nYour prediction: {choice}. Now see."),
        Some(None) => {
            _ = write!(text, "\n\nThere are {} choices, and {chosen} is none of them.", choices.len())
        }
        None => {
            text.push('\n');
            choices.iter().enumerate().for_each(|(i, choice)| _ = write!(text, "\n{}. {choice}", i + 1));
            text.push_str(
                "\n\nPut the number of your answer in the place of 0 and run this cell again. Then go on.",
            );
        }
    }
    md(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_asked_for_taken_or_refused() {
        let text = |chosen| predict("which?", &["one", "other"], chosen).to_string();
        assert!(text(0).contains("1. one\n2. other") && text(0).contains("in the place of 0"));
        assert!(text(2).ends_with("Your prediction: other. Now see."));
        assert!(text(3).ends_with("There are 2 choices, and 3 is none of them."));
    }
}
