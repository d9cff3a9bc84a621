//! Pictures drawn ahead of their questions, and kept as long as there is room: the tasks of a suite ask about the same ones.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use super::plan::ItemPicture;

/// Files of pictures, within a bound of memory.
pub struct Album {
    bytes_max: usize,
    drawn: Mutex<Drawn>,
}

#[derive(Default)]
struct Drawn {
    files: BTreeMap<ItemPicture, Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<ItemPicture>,
    bytes: usize,
}

impl Album {
    /// An empty one that keeps at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            drawn: Mutex::default(),
        }
    }

    /// The files of the first of these, as many as fit into its bound and at least one. Draws what it does not have, which
    /// keeps a processor busy.
    pub fn files(&self, pictures: &[Option<ItemPicture>]) -> Vec<Option<Arc<[u8]>>> {
        let mut files = Vec::new();
        let mut bytes = 0;
        for picture in pictures {
            let file = picture.as_ref().map(|picture| self.file(picture));
            bytes += file.as_ref().map_or(0, |file| file.len());
            if bytes > self.bytes_max && !files.is_empty() {
                break;
            }
            files.push(file);
        }
        files
    }

    fn file(&self, picture: &ItemPicture) -> Arc<[u8]> {
        if let ItemPicture::File(file) = picture {
            return file.clone();
        }
        if let Some(file) = self.drawn().files.get(picture) {
            return file.clone();
        }
        let file = picture.file();
        self.drawn().keep(picture, &file, self.bytes_max);
        file
    }

    fn drawn(&self) -> std::sync::MutexGuard<'_, Drawn> {
        self.drawn.lock().expect("no holder panics")
    }
}

impl Drawn {
    /// Makes room by forgetting the oldest.
    fn keep(&mut self, picture: &ItemPicture, file: &Arc<[u8]>, bytes_max: usize) {
        if self.files.insert(picture.clone(), file.clone()).is_some() {
            return;
        }
        self.order.push_back(picture.clone());
        self.bytes += file.len();
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let forgotten = self.files.remove(&oldest);
            self.bytes -= forgotten.map_or(0, |file| file.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::picture::Side;

    fn scenes(seeds: std::ops::Range<u64>) -> Vec<Option<ItemPicture>> {
        let side = Side::SMALLEST;
        seeds
            .map(|seed| Some(ItemPicture::Scene { seed, side }))
            .collect()
    }

    #[test]
    fn a_picture_that_fits_is_drawn_once() {
        let album = Album::new(1 << 20);
        let [first, again] = [0, 1].map(|_| album.files(&scenes(0..3)));
        for (first, again) in first.iter().zip(&again) {
            assert!(Arc::ptr_eq(
                first.as_ref().unwrap(),
                again.as_ref().unwrap()
            ));
        }
    }

    #[test]
    fn more_than_its_bound_is_neither_handed_out_at_once_nor_kept() {
        let one = scenes(0..1)[0].as_ref().unwrap().file().len();
        let album = Album::new(3 * one);
        let files = album.files(&scenes(0..100));
        assert!((2..=4).contains(&files.len()), "{}", files.len());
        album.files(&scenes(50..53));
        let drawn = album.drawn();
        assert!(drawn.bytes <= 3 * one);
        assert_eq!(drawn.files.len(), drawn.order.len());
        let tiny = Album::new(1);
        assert_eq!(tiny.files(&scenes(0..2)).len(), 1);
    }

    #[test]
    fn a_question_without_a_picture_has_no_file() {
        assert_eq!(Album::new(1).files(&[None, None]), [None, None]);
    }
}
