//! What Docker told, for as long as there is room.

use std::collections::HashMap;

use countersign_common::selector::Selector;

use super::Topic;

/// How many answers are remembered.
const MAX_ANSWERS: usize = 1024;

/// How many bytes of selectors are remembered, all answers together.
const MAX_BYTES: usize = 8 << 20;

/// What an answer is about, and the id of its container.
type Question = (Topic, String);

/// Answers by their question. The least recently used ones make room for a new one.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    answers: HashMap<Question, Answer>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Answer {
    selectors: Vec<Selector>,
    bytes: usize,
    last_use: u64,
}

impl Remembered {
    /// What was told.
    pub(super) fn look_up(&mut self, question: &Question) -> Option<Vec<Selector>> {
        self.uses += 1;
        let answer = self.answers.get_mut(question)?;
        answer.last_use = self.uses;
        Some(answer.selectors.clone())
    }

    /// Remembers what was told. An answer that has no room at all is asked for again each time.
    pub(super) fn remember(&mut self, question: Question, selectors: &[Selector]) {
        self.uses += 1;
        self.forget(&question);
        let bytes = selectors.iter().map(|selector| size_of::<Selector>() + selector.value().len()).sum();
        if bytes > MAX_BYTES {
            return;
        }
        while self.answers.len() >= MAX_ANSWERS || self.bytes + bytes > MAX_BYTES {
            let oldest = self.answers.iter().min_by_key(|(_, answer)| answer.last_use);
            let Some(oldest) = oldest.map(|(question, _)| question.clone()) else { break };
            self.forget(&oldest);
        }
        self.bytes += bytes;
        let answer = Answer { selectors: selectors.to_vec(), bytes, last_use: self.uses };
        self.answers.insert(question, answer);
    }

    fn forget(&mut self, question: &Question) {
        if let Some(answer) = self.answers.remove(question) {
            self.bytes -= answer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_common::selector::SelectorKind;

    use super::*;

    fn about(container: usize) -> Question {
        (Topic::Container, container.to_string())
    }

    fn label(bytes: usize) -> Selector {
        Selector::new(SelectorKind::DockerLabel, &format!("k:{}", "v".repeat(bytes))).unwrap()
    }

    #[test]
    fn an_answer_is_told_again_to_the_same_question_only() {
        let mut remembered = Remembered::default();
        remembered.remember(about(1), &[label(1)]);
        assert_eq!(remembered.look_up(&about(1)), Some(vec![label(1)]));
        assert_eq!(remembered.look_up(&about(2)), None);
        assert_eq!(remembered.look_up(&(Topic::ImageConfig, "1".to_owned())), None);
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut remembered = Remembered::default();
        for container in 0..MAX_ANSWERS {
            remembered.remember(about(container), &[]);
        }
        assert!(remembered.look_up(&about(0)).is_some());
        remembered.remember(about(MAX_ANSWERS), &[]);
        assert_eq!(remembered.answers.len(), MAX_ANSWERS);
        assert!(remembered.look_up(&about(0)).is_some());
        assert_eq!(remembered.look_up(&about(1)), None);
    }

    #[test]
    fn long_answers_have_no_more_room_than_short_ones() {
        let mut remembered = Remembered::default();
        let long = vec![label(4000); 1000];
        for container in 0..5 {
            remembered.remember(about(container), &long);
            assert!(remembered.bytes <= MAX_BYTES);
            assert!(remembered.look_up(&about(container)).is_some());
        }
        assert_eq!(remembered.answers.len(), 2);
        remembered.remember(about(4), &[]);
        assert_eq!(remembered.bytes, remembered.answers[&about(3)].bytes, "an answer is counted once");
        remembered.remember(about(9), &vec![label(4000); 3000]);
        assert_eq!(remembered.look_up(&about(9)), None);
        assert!(remembered.look_up(&about(3)).is_some(), "and nobody had to go for it");
    }
}
