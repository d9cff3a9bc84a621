//! What a made-up model says of a picture. It cannot look, so it is told what is true, and errs as often as its nature says: then it
//! answers the same question about another picture.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokwatt_domain::{metrics::quality::canonical_answer, workload::Scoring};

use crate::{
    backend::Question,
    workload::plan::{Item, ItemPicture, Plan},
};

/// The questions of a plan, and what is true.
#[derive(Debug)]
pub struct Sight {
    asked: BTreeMap<Key, (Scoring, Item)>,
    album: Mutex<Album>,
}

/// A picture and what is asked about it.
type Key = (Option<ItemPicture>, String);

/// Which picture a file is: found by drawing those of the plan in their order, which is that in which they are asked about.
#[derive(Debug)]
struct Album {
    undrawn: VecDeque<ItemPicture>,
    drawn: BTreeMap<[u8; 32], ItemPicture>,
}

impl Sight {
    /// Of everything that will be asked and is scored.
    pub fn of(plan: &Plan) -> Self {
        let mut asked = BTreeMap::new();
        let mut undrawn = VecDeque::new();
        let mut known = std::collections::BTreeSet::new();
        for cell in &plan.cells {
            for item in &cell.items {
                asked.insert(key(item), (cell.scoring, item.clone()));
                let new = item
                    .picture
                    .iter()
                    .filter(|picture| known.insert((*picture).clone()));
                undrawn.extend(new.cloned());
            }
        }
        let album = Album {
            undrawn,
            drawn: BTreeMap::new(),
        };
        Self {
            asked,
            album: Mutex::new(album),
        }
    }

    /// The answer to a question of the plan, right or wrong; `None` to any other, and where nothing is known to be true.
    pub(super) fn answer(&self, question: &Question, is_right: bool) -> Option<String> {
        let key = (self.picture(question), question.prompt.clone());
        let (own, others) = (self.asked.get_key_value(&key)?, self.asked.range(&key..));
        let is_same_prompt = |(other, _): &(&Key, &(Scoring, Item))| other.1 == key.1;
        let mut others = others.skip(1).chain(&self.asked).filter(is_same_prompt);
        let (_, (scoring, item)) = match is_right {
            true => own,
            false => others.next()?,
        };
        canonical_answer(*scoring, &item.truth()?)
    }

    fn picture(&self, question: &Question) -> Option<ItemPicture> {
        let file = question.picture.as_deref()?;
        let sought: [u8; 32] = Sha256::digest(file).into();
        let mut album = self.album.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(picture) = album.drawn.get(&sought) {
                return Some(picture.clone());
            }
            let picture = album.undrawn.pop_front()?;
            let drawn = Sha256::digest(picture.file()).into();
            album.drawn.insert(drawn, picture);
        }
    }
}

fn key(item: &Item) -> Key {
    (item.picture.clone(), item.prompt.clone())
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::metrics::quality::score;

    use super::*;
    use crate::workload::{plan::PlanOptions, suite::Suite};

    #[test]
    fn whoever_is_told_the_truth_is_right_and_of_another_picture_it_is_wrong() {
        let options = PlanOptions {
            limit: Some(12),
            ..PlanOptions::default()
        };
        let plan = Plan::make(&Suite::find("edge-vision", None).unwrap(), &options).unwrap();
        let sight = Sight::of(&plan);
        for cell in &plan.cells {
            for item in &cell.items {
                let picture = item.picture.as_ref().map(ItemPicture::file);
                let question = Question::new(item.prompt.clone(), picture, 64);
                let right = sight.answer(&question, true).unwrap();
                let truth = item.truth().unwrap();
                assert_eq!(
                    Some(&right),
                    canonical_answer(cell.scoring, &truth).as_ref()
                );
                assert!(score(cell.scoring, &right, &truth).is_some());
                assert!(sight.answer(&question, false).is_some());
            }
        }
        let other = Question::new("Who are you?".to_owned(), None, 64);
        assert_eq!(sight.answer(&other, true), None);
    }
}
