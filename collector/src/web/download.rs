//! What a run consists of, as files: its document, and its trace as JSON Lines.
//!
//! `trace.jsonl` has one object a line: `schema` and `header` first, then for each segment its `window`, each `request`, each sensor's
//! `power`, `memory`, `gauge` and `gap`, with the `segment` that they are of; resumptions and the `end` last.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Path as FromPath, State},
    response::{IntoResponse, Response},
};
use futures::{Stream, stream};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Serialize;
use tokwatt_domain::{ids::RunId, run::RunTrace};

use super::{problem::Problem, site::Site};
use crate::exchange::nameless;

/// `tokwatt.run/1`.
pub(super) async fn run(
    State(site): State<Arc<Site>>,
    FromPath(asked): FromPath<String>,
) -> Result<Response, Problem> {
    let run = site.query.run(&asked).await?;
    let content = serde_json::to_string(&run)?;
    Ok(file(
        &format!("run-{}.json", run.line.run),
        "application/json",
        content,
    ))
}

/// `tokwatt.trace/1`.
pub(super) async fn trace(
    State(site): State<Arc<Site>>,
    FromPath(asked): FromPath<String>,
) -> Result<Response, Problem> {
    let name = site.query.run(&asked).await?.line.run;
    let run = RunId::parse(&name).map_err(|error| Problem::failed(&error))?;
    let trace = super::run::trace(&site, run).await?;
    let trace = trace.map_err(|why| Problem::not_found(&why))?;
    let folder = site.folder.clone();
    let written = tokio::task::spawn_blocking(move || in_file(&trace, &folder));
    let written = written.await.map_err(|error| Problem::failed(&error))?;
    let content = pieces(written.map_err(|error| Problem::failed(&error))?);
    Ok(file(
        &format!("trace-{name}.jsonl"),
        "application/jsonl",
        Body::from_stream(content),
    ))
}

/// The name is of letters, digits, dashes and dots.
fn file(name: &str, content_type: &'static str, content: impl IntoResponse) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    (headers, content).into_response()
}

/// The lines in a file that is gone with its last reader, at its beginning.
fn in_file(trace: &RunTrace, folder: &Path) -> io::Result<File> {
    let mut out = BufWriter::new(nameless(folder)?);
    lines(trace, &mut out)?;
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

/// Bit by bit, as fast as they are taken.
fn pieces(file: File) -> impl Stream<Item = io::Result<Vec<u8>>> + Send {
    stream::try_unfold(file, async |file| {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::new();
            (&file).take(PIECE_BYTES).read_to_end(&mut piece)?;
            Ok((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other).flatten()?;
        Ok(Some((piece, file)).filter(|(piece, _)| !piece.is_empty()))
    })
}

fn lines(trace: &RunTrace, out: &mut impl Write) -> io::Result<()> {
    let head = Head {
        schema: "tokwatt.trace/1",
        header: &trace.header,
    };
    line(out, &head)?;
    for (segment, of) in trace.segments.iter().enumerate() {
        part(out, segment, "window", &of.window)?;
        parts(out, segment, "request", &of.requests)?;
        parts(out, segment, "power", &of.power)?;
        parts(out, segment, "memory", &of.memory)?;
        parts(out, segment, "gauge", &of.gauges)?;
        parts(out, segment, "gap", &of.gaps)?;
    }
    let tail = Tail {
        resumptions: &trace.resumptions,
        end: &trace.end,
    };
    line(out, &tail)
}

/// The first line.
#[derive(Serialize)]
struct Head<'a, H> {
    schema: &'a str,
    header: &'a H,
}

/// The last one.
#[derive(Serialize)]
struct Tail<'a, R, E> {
    resumptions: &'a R,
    end: &'a E,
}

fn parts(
    out: &mut impl Write,
    segment: usize,
    kind: &str,
    values: &[impl Serialize],
) -> io::Result<()> {
    let mut values = values.iter();
    values.try_for_each(|value| part(out, segment, kind, value))
}

/// Written straight from where it stands, without a tree of it in between.
fn part(
    out: &mut impl Write,
    segment: usize,
    kind: &str,
    value: &impl Serialize,
) -> io::Result<()> {
    write!(out, "{{\"segment\":{segment},\"{kind}\":")?;
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"}\n")
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Of what is sent.
const PIECE_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_long_file_is_sent_in_pieces_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let n_bytes = usize::try_from(PIECE_BYTES).unwrap() * 2 + 1;
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(n_bytes).collect();
        let mut file = nameless(folder.path()).unwrap();
        file.write_all(&content).unwrap();
        file.rewind().unwrap();
        let pieces: Vec<Vec<u8>> = pieces(file).try_collect().await.unwrap();
        assert_eq!(pieces.len(), 3);
        assert!(pieces.concat() == content);
    }
}
