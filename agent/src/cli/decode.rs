//! `decode KIND < FILE`: reads what a device's tool prints, writes JSON; also how a new variant is reported.

use std::io::{BufRead, Read, Write};

use clap::Args;

use super::Exit;
use crate::decode::{Kind, decode as read};

#[derive(Args)]
pub(super) struct DecodeArgs {
    /// tegrastats (one object a line), nvidia-smi, nvidia-smi-csv, nvidia-smi-q, nvml-probe, nvpmodel, jetson_clocks,
    /// release, dgx-release, model, compatible, dmi, bios, lspci, meminfo, lm-sensors, dpkg, environment
    kind: Kind,
    /// Accepted so that scripts may say it: the output is always JSON
    #[arg(long, default_value = "json", value_parser = ["json"], hide = true)]
    format: String,
}

pub(super) fn decode(args: &DecodeArgs) -> anyhow::Result<Exit> {
    let input = std::io::stdin().lock();
    let unread = if args.kind.is_by_line() {
        by_line(args.kind, input)?
    } else {
        whole(args.kind, input)?
    };
    Ok(if unread == 0 {
        Exit::Done
    } else {
        Exit::FoundWrong
    })
}

/// A line that cannot be read is reported and counted, and the next one is read.
fn by_line(kind: Kind, mut input: impl BufRead) -> anyhow::Result<u64> {
    let mut unread = 0;
    for number in 1.. {
        let place = format!("line {number}");
        let is_read = match next_line(&mut input)? {
            Taken::Nothing => break,
            Taken::TooLong => complain(&place, &too_long(LINE_BYTES_MAX))?,
            Taken::Line(line) => {
                let text = String::from_utf8_lossy(&line);
                text.trim().is_empty() || write_one(kind, &text, &place)?
            }
        };
        unread += u64::from(!is_read);
    }
    Ok(unread)
}

fn whole(kind: Kind, input: impl Read) -> anyhow::Result<u64> {
    let mut bytes = Vec::new();
    input.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let is_read = if u64::try_from(bytes.len())? > TEXT_BYTES_MAX {
        complain("input", &too_long(TEXT_BYTES_MAX))?
    } else {
        write_one(kind, &String::from_utf8_lossy(&bytes), "input")?
    };
    Ok(u64::from(!is_read))
}

/// What a look for the next line found.
#[derive(Debug, Eq, PartialEq)]
enum Taken {
    Line(Vec<u8>),
    /// It was passed over without being kept.
    TooLong,
    Nothing,
}

fn next_line(input: &mut impl BufRead) -> std::io::Result<Taken> {
    let mut line = Vec::new();
    if input
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?
        == 0
    {
        return Ok(Taken::Nothing);
    }
    if line.last() == Some(&b'\n') || input.fill_buf()?.is_empty() {
        return Ok(Taken::Line(line));
    }
    input.skip_until(b'\n')?;
    Ok(Taken::TooLong)
}

fn too_long(bytes_max: u64) -> String {
    format!("longer than {bytes_max} bytes, not read")
}

/// `false`: it was not read.
fn complain(place: &str, what: &dyn std::fmt::Display) -> anyhow::Result<bool> {
    writeln!(std::io::stderr().lock(), "tokwatt-agent: {place}: {what}")?;
    Ok(false)
}

fn write_one(kind: Kind, text: &str, place: &str) -> anyhow::Result<bool> {
    match read(kind, text) {
        Ok(value) => {
            writeln!(std::io::stdout().lock(), "{value}")?;
            Ok(true)
        }
        Err(error) => complain(place, &error),
    }
}

/// Most bytes of a line. The longest real one, of a Thor with every engine, has less than 1,500.
const LINE_BYTES_MAX: u64 = 1 << 14;

/// Most bytes of any other text. The log of eight GPUs with all sections has less than 200 kB.
const TEXT_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::{BufReader, repeat};

    use super::*;

    #[test]
    fn a_line_without_end_is_passed_over_not_kept() {
        let endless = repeat(b'x').take(100 << 20);
        let mut input = BufReader::new(endless.chain(&b"\nRAM 1/2MB"[..]));
        assert_eq!(next_line(&mut input).unwrap(), Taken::TooLong);
        assert_eq!(
            next_line(&mut input).unwrap(),
            Taken::Line(b"RAM 1/2MB".to_vec())
        );
        assert_eq!(next_line(&mut input).unwrap(), Taken::Nothing);
    }

    #[test]
    fn a_line_of_just_the_limit_is_read() {
        let line = vec![b'x'; usize::try_from(LINE_BYTES_MAX).unwrap()];
        assert_eq!(
            next_line(&mut &line[..]).unwrap(),
            Taken::Line(line.clone())
        );
        let longer = [&line[..], b"y\n"].concat();
        assert_eq!(next_line(&mut &longer[..]).unwrap(), Taken::TooLong);
    }
}
