//! Figures for people, as pictures have them too.

pub(crate) use crate::chart::number::{Scale, percentile, short};
