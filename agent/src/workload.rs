//! What is asked: suites of tasks, and pictures whose truth is known because they are drawn here.
//!
//! A suite file names tasks, prompts and scenes; a plan lays out the questions in the order in which they are asked, and the
//! pictures are drawn shortly before. Nothing here knows who answers or how long it takes.

/// Chance that is the same on every machine.
mod chance;

/// Flat shapes in whole numbers, told row by row.
mod shape;

/// Paint on a canvas, averaged into a picture.
mod canvas;

/// A drawn picture: its size, its pixels, their digest, its file.
pub mod picture;

/// Scenes with known truth, from a seed.
pub mod scene;

/// Charts with known data, from a seed.
pub mod chart;

/// Direct questions: where one object is relative to another.
pub mod relation;

/// Prompts of a stated length.
mod padding;

/// What was said before a question.
pub mod turn;

/// A named, versioned list of tasks over pictures, read from TOML.
pub mod suite;

/// A folder of one's own pictures, with what is known about them.
pub mod folder;

/// A suite laid out: which questions about which pictures, in which order.
pub mod plan;

/// When requests come that wait for nobody.
pub mod arrivals;

/// Pictures drawn ahead of their questions.
pub mod album;

/// Scenes as files, for people to look at.
pub mod gallery;
