//! Rows as Parquet: typed columns, without Arrow.

use std::{io::Write, sync::Arc};

use parquet::{
    basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::{Type, TypePtr},
};

use super::{
    sink::SinkError,
    table::{Column, Field, Kind, Row},
};

/// Collects rows into row groups.
pub(super) struct ParquetSink<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    kinds: Vec<Kind>,
    rows: Vec<Row>,
}

impl<W: Write + Send> ParquetSink<W> {
    pub(super) fn new(what: &str, columns: &[Column], out: W) -> Result<Self, SinkError> {
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("tokwatt")
            .with_fields(fields)
            .build()?;
        let described = serde_json::to_string(columns).map_err(std::io::Error::other)?;
        let metadata = vec![
            KeyValue::new("tokwatt.export".to_owned(), what.to_owned()),
            KeyValue::new("tokwatt.columns".to_owned(), described),
        ];
        let properties = WriterProperties::builder()
            .set_created_by("tokwatt".to_owned())
            .set_key_value_metadata(Some(metadata))
            .build();
        Ok(Self {
            writer: SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?,
            kinds: columns.iter().map(|column| column.kind).collect(),
            rows: Vec::new(),
        })
    }

    pub(super) fn row(&mut self, row: Row) -> Result<(), SinkError> {
        self.rows.push(row);
        match self.rows.len() < ROWS_IN_GROUP {
            true => Ok(()),
            false => self.flush(),
        }
    }

    pub(super) fn finish(mut self) -> Result<W, SinkError> {
        self.flush()?;
        Ok(self.writer.into_inner()?)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group()?;
        for (position, kind) in self.kinds.iter().enumerate() {
            let fields = rows
                .iter()
                .map(|row| row.get(position).unwrap_or(&Field::Absent));
            let Some(mut column) = group.next_column()? else {
                break;
            };
            put(&mut column, *kind, fields)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

fn put<'a>(
    column: &mut SerializedColumnWriter<'_>,
    kind: Kind,
    fields: impl Iterator<Item = &'a Field>,
) -> Result<(), SinkError> {
    match kind {
        Kind::Text => write::<ByteArrayType>(column, fields, |field| match field {
            Field::Text(text) => Some(ByteArray::from(text.as_str())),
            _ => None,
        }),
        Kind::Number => write::<DoubleType>(column, fields, |field| match field {
            Field::Number(number) => Some(*number),
            _ => None,
        }),
        Kind::Integer => write::<Int64Type>(column, fields, |field| match field {
            Field::Integer(integer) => Some(*integer),
            _ => None,
        }),
        Kind::Time => write::<Int64Type>(column, fields, |field| match field {
            Field::Time(micros) => Some(*micros),
            _ => None,
        }),
        Kind::Truth => write::<BoolType>(column, fields, |field| match field {
            Field::Truth(truth) => Some(*truth),
            _ => None,
        }),
    }
}

/// A column's values, with a level for each row that says whether it has one.
fn write<'a, T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    fields: impl Iterator<Item = &'a Field>,
    read: impl Fn(&Field) -> Option<T::T>,
) -> Result<(), SinkError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for field in fields {
        let value = read(field);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    column
        .typed::<T>()
        .write_batch(&values, Some(&levels), None)?;
    Ok(())
}

fn field(column: &Column) -> Result<TypePtr, SinkError> {
    let (physical, logical) = match column.kind {
        Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (PhysicalType::DOUBLE, None),
        Kind::Integer => (PhysicalType::INT64, None),
        Kind::Truth => (PhysicalType::BOOLEAN, None),
        Kind::Time => (
            PhysicalType::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
        ),
    };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(field))
}

/// Enough for a reader to skip some, few enough to be held.
const ROWS_IN_GROUP: usize = 16_384;
