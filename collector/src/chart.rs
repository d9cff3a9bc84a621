//! Pictures of figures: what is shown, and how it is drawn.
//!
//! A [`Chart`] is a plain value that pure functions make from cells, boards and traces. Page, report and files draw the same one:
//! [`svg`] and [`png`], and [`tables`] for those who want to read the numbers. Nothing in a chart is a layout; nothing in a
//! drawing is a figure.

pub(crate) mod number;

mod canvas;
mod color;
mod description;
mod draw;
mod font;
/// Charts from boards, cells and traces.
pub mod make;
mod sheet;
mod table;

#[cfg(test)]
mod tests;

pub use self::{
    description::{
        Axis, Bars, Boxes, Chart, Datum, Drawing, Group, HeatMap, Lines, Panel, Quartiles, Scatter,
        Series, Value, file_name,
    },
    sheet::{DrawError, png, svg},
    table::{Table, description, tables},
};
