//! Figures for people, as pictures have them too.

pub(super) use crate::chart::number::{Scale, percentile, short};
