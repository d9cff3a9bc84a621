//! Rows as CSV, JSON, JSON Lines or Parquet, written as they come.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{
    parquet::ParquetSink,
    table::{Column, Field, Row},
};
use crate::report::utc;

/// A form of table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TableForm {
    /// With a line of names; units stand in them: `ttft.p90 [s]`.
    Csv,
    /// One document: columns, then rows.
    Json,
    /// An object on each line, keyed as the columns of CSV.
    JsonLines,
    /// Typed columns; units and definitions in the file's metadata under `tokwatt.columns`.
    Parquet,
}

/// Where rows go.
pub(super) enum Sink<W: Write + Send> {
    Csv(Box<csv::Writer<W>>),
    Json(JsonSink<W>),
    Lines(JsonSink<W>),
    Parquet(Box<ParquetSink<W>>),
}

/// Writes objects.
pub(super) struct JsonSink<W> {
    out: W,
    names: Vec<String>,
    is_first: bool,
}

/// It cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SinkError {
    #[error("cannot write the export")]
    Io(#[from] io::Error),
    #[error("cannot write the export as Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl TableForm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Csv, Self::Json, Self::JsonLines, Self::Parquet];

    /// The name that command line and file names use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl<W: Write + Send> Sink<W> {
    pub(super) fn new(
        form: TableForm,
        what: &str,
        columns: &[Column],
        mut out: W,
    ) -> Result<Self, SinkError> {
        let labels = || columns.iter().map(Column::label).collect::<Vec<_>>();
        Ok(match form {
            TableForm::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(labels()).map_err(csv_error)?;
                Self::Csv(Box::new(writer))
            }
            TableForm::Json => {
                let named = serde_json::to_string(columns).map_err(io::Error::other)?;
                write!(
                    out,
                    "{{\"schema\":\"tokwatt.export/1\",\"what\":{},\"columns\":{named},\"rows\":[",
                    json!(what)
                )?;
                Self::Json(JsonSink {
                    out,
                    names: columns.iter().map(|column| column.name.clone()).collect(),
                    is_first: true,
                })
            }
            TableForm::JsonLines => Self::Lines(JsonSink {
                out,
                names: labels(),
                is_first: true,
            }),
            TableForm::Parquet => Self::Parquet(Box::new(ParquetSink::new(what, columns, out)?)),
        })
    }

    pub(super) fn row(&mut self, row: Row) -> Result<(), SinkError> {
        match self {
            Self::Csv(writer) => writer.write_record(row.iter().map(cell)).map_err(csv_error),
            Self::Json(sink) => {
                let before = if sink.is_first { "\n" } else { ",\n" };
                sink.is_first = false;
                write!(sink.out, "{before}{}", sink.object(row))?;
                Ok(())
            }
            Self::Lines(sink) => {
                writeln!(sink.out, "{}", sink.object(row))?;
                Ok(())
            }
            Self::Parquet(sink) => sink.row(row),
        }
    }

    pub(super) fn finish(self) -> Result<W, SinkError> {
        Ok(match self {
            Self::Csv(writer) => writer.into_inner().map_err(|error| error.into_error())?,
            Self::Json(mut sink) => {
                sink.out.write_all(b"\n]}\n")?;
                sink.out
            }
            Self::Lines(sink) => sink.out,
            Self::Parquet(sink) => sink.finish()?,
        })
    }
}

impl<W> JsonSink<W> {
    fn object(&self, row: Row) -> Value {
        let members = self.names.iter().cloned().zip(row.into_iter().map(value));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

/// For programs that read cells as formulas: a text that begins like one gets an apostrophe before it, by which they take it for text.
fn cell(field: &Field) -> String {
    match field {
        Field::Absent => String::new(),
        Field::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) => {
            format!("'{text}")
        }
        Field::Text(text) => text.clone(),
        Field::Number(number) => number.to_string(),
        Field::Integer(integer) => integer.to_string(),
        Field::Truth(truth) => truth.to_string(),
        Field::Time(micros) => iso(*micros),
    }
}

/// What JSON has no number for is a failed request's percentile, as in every other document.
fn value(field: Field) -> Value {
    match field {
        Field::Absent => Value::Null,
        Field::Text(text) => Value::String(text),
        Field::Number(number) if number.is_infinite() => json!("failed"),
        Field::Number(number) => json!(number),
        Field::Integer(integer) => json!(integer),
        Field::Truth(truth) => json!(truth),
        Field::Time(micros) => Value::String(iso(micros)),
    }
}

/// `2026-11-26T04:10:29.000000Z`.
fn iso(micros: i64) -> String {
    let whole = utc(micros).replace(' ', "T");
    format!("{whole}.{:06}Z", micros.rem_euclid(1_000_000))
}

fn csv_error(error: csv::Error) -> SinkError {
    SinkError::Io(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::{super::table::Kind, *};

    fn written(form: TableForm, row: Row) -> String {
        let columns = [
            Column::new("model", Kind::Text),
            Column::new("ttft.p90", Kind::Number).of_unit("s"),
            Column::new("started", Kind::Time),
        ];
        let mut sink = Sink::new(form, "runs", &columns, Vec::new()).unwrap();
        sink.row(row).unwrap();
        String::from_utf8(sink.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_text_that_begins_like_a_formula_is_no_formula() {
        for formula in ["=cmd()", "+1", "-1", "@x", "\t=1", "\r=1"] {
            let row = vec![Field::text(formula), Field::Number(-0.5), Field::Absent];
            let text = written(TableForm::Csv, row.clone());
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let line = reader.records().next().unwrap().unwrap();
            assert_eq!(line.get(0), Some(format!("'{formula}").as_str()));
            // A number is one, whatever its sign.
            assert_eq!(line.get(1), Some("-0.5"));
            // JSON knows no formulas.
            assert!(written(TableForm::JsonLines, row).contains(&json!(formula).to_string()));
        }
    }

    #[test]
    fn every_form_says_the_unit_and_what_is_absent() {
        let row = || {
            vec![
                Field::text("m"),
                Field::Number(f64::INFINITY),
                Field::Time(1_500_000),
            ]
        };
        let csv = written(TableForm::Csv, row());
        assert_eq!(
            csv,
            "model,ttft.p90 [s],started\nm,inf,1970-01-01T00:00:01.500000Z\n"
        );
        let lines = written(
            TableForm::JsonLines,
            vec![Field::text("m"), Field::Absent, Field::Absent],
        );
        assert_eq!(
            lines,
            "{\"model\":\"m\",\"started\":null,\"ttft.p90 [s]\":null}\n"
        );
        let document: Value = serde_json::from_str(&written(TableForm::Json, row())).unwrap();
        assert_eq!(document["schema"], "tokwatt.export/1");
        assert_eq!(document["columns"][1]["unit"], "s");
        assert_eq!(document["rows"][0]["ttft.p90"], "failed");
    }
}
