//! Server-sent events out of bytes, however they were cut on their way.
//!
//! A line ends with LF, CR LF or CR. Lines that begin with a colon are comments; `data` lines of an event are joined with
//! line feeds; an empty line ends the event; fields other than `event` and `data` mean nothing here. One thing is read
//! more kindly than the standard has it: an event that the end of the stream cuts off before its empty line still
//! counts, because some servers leave that line out after their last one.
//!
//! What may come without the end of an event is bounded by [`SILENT_BYTES_MAX`], be it an endless line, an endless event
//! or nothing but comments. More than that is no stream of answers: memory stays small, and the machine that is measured
//! is not heated by reading on until the request's time is up.

/// One event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ServerEvent {
    /// What kind, if it says; mostly it does not.
    pub(super) name: Vec<u8>,
    /// What it carries.
    pub(super) data: Vec<u8>,
}

/// What has been read so far of a stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    event: ServerEvent,
    has_data: bool,
    /// Whether the last byte was a CR: a LF right after it ends no line.
    is_after_return: bool,
    has_begun: bool,
    /// Since the last event's end.
    silent_bytes: usize,
}

/// So much came without an event that none is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{SILENT_BYTES_MAX} bytes of its stream came without the end of an event: nothing but comments, or a line without end"
)]
pub(super) struct Flood;

impl Events {
    /// Reads on; what is complete goes to `found`.
    pub(super) fn read(&mut self, bytes: &[u8], found: &mut Vec<ServerEvent>) -> Result<(), Flood> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let is_second_half = self.is_after_return && end == 0 && rest[end] == b'\n';
            self.is_after_return = rest[end] == b'\r';
            if !is_second_half {
                self.keep(&rest[..=end])?;
                self.line.pop();
                self.end_line(found);
            }
            rest = &rest[end + 1..];
        }
        self.is_after_return &= rest.is_empty();
        self.keep(rest)
    }

    /// The stream has ended: what it was in the middle of.
    pub(super) fn end(mut self) -> Option<ServerEvent> {
        let mut found = Vec::new();
        self.end_line(&mut found);
        self.end_event(&mut found);
        found.pop()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.silent_bytes += bytes.len();
        if self.silent_bytes > SILENT_BYTES_MAX {
            return Err(Flood);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, found: &mut Vec<ServerEvent>) {
        let kept = std::mem::take(&mut self.line);
        let mut line = kept.as_slice();
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(found);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = value.to_vec(),
            _ => {}
        }
    }

    /// An event without data is none.
    fn end_event(&mut self, found: &mut Vec<ServerEvent>) {
        let event = std::mem::take(&mut self.event);
        if std::mem::replace(&mut self.has_data, false) {
            self.silent_bytes = 0;
            found.push(event);
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A thousand times what an event of an answer has.
pub(super) const SILENT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events of a stream that comes in these pieces.
    fn events<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<(String, String)>, Flood> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for piece in pieces {
            events.read(piece, &mut found)?;
        }
        found.extend(events.end());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let both = |event: ServerEvent| (text(event.name), text(event.data));
        Ok(found.into_iter().map(both).collect())
    }

    #[track_caller]
    fn check(stream: &str, want: &[(&str, &str)]) {
        let found = events([stream.as_bytes()]).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, data)| (name.as_str(), data.as_str()))
            .collect();
        assert_eq!(found, want, "{stream:?}");
    }

    #[test]
    fn a_stream_is_read_as_the_standard_has_it() {
        check("", &[]);
        check("data: a\n\n", &[("", "a")]);
        check("data: a\r\n\r\n", &[("", "a")]);
        check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("data: a\n\ndata:b\n\n", &[("", "a"), ("", "b")]);
        check("data: a\ndata: b\n\n", &[("", "a\nb")]);
        check("data:  two spaces\n\n", &[("", " two spaces")]);
        check("data\n\n", &[("", "")]);
        check(": ping\n\n:\n\ndata: a\n: ping\n\n", &[("", "a")]);
        check(
            "event: error\ndata: b\n\ndata: c\n\n",
            &[("error", "b"), ("", "c")],
        );
        check("event: nothing\n\ndata: a\n\n", &[("", "a")]);
        check("id: 7\nretry: 5\nother: x\ndata: a\n\n", &[("", "a")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check("\n\n\r\n\r\ndata: ä\r\n\n", &[("", "ä")]);
    }

    #[test]
    fn an_event_that_the_end_cuts_off_still_counts() {
        check("data: a\n\ndata: [DONE]", &[("", "a"), ("", "[DONE]")]);
        check("data: a\n\ndata: [DONE]\n", &[("", "a"), ("", "[DONE]")]);
        check(
            "data: a\r\n\r\ndata: [DONE]\r",
            &[("", "a"), ("", "[DONE]")],
        );
    }

    #[test]
    fn neither_comments_nor_a_line_nor_an_event_without_end_take_memory() {
        for filler in [": a comment\n", "x", "data: more\n", "\n", "event: a\n"] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            let filler = filler.repeat(4096 / filler.len());
            let read = (0..10_000).find(|_| events.read(filler.as_bytes(), &mut found).is_err());
            let read = read.expect("a flood") * filler.len();
            assert!(read <= SILENT_BYTES_MAX, "{read}");
            assert!(events.line.capacity() + events.event.data.capacity() <= 4 * SILENT_BYTES_MAX);
            assert!(found.is_empty());
        }
    }

    #[test]
    fn comments_between_events_may_come_for_ever() {
        let (mut events, mut found) = (Events::default(), Vec::new());
        let comments = ": ping\n\n".repeat(1000);
        for _ in 0..1000 {
            events.read(comments.as_bytes(), &mut found).unwrap();
            events.read(b"data: a\n\n", &mut found).unwrap();
        }
        assert_eq!(found.len(), 1000);
    }

    /// Lines that mean something, and such that do not, with every ending.
    fn streams() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("data: {\"a\":1}".to_owned()),
            Just("data: ä".to_owned()),
            Just("data:".to_owned()),
            Just(": ping".to_owned()),
            Just("event: error".to_owned()),
            Just(String::new()),
            "[a-z:é ]{0,8}",
        ];
        let ending = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        let line = (line, ending).prop_map(|(line, ending)| line + ending);
        prop::collection::vec(line, 0..24).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_events_are_the_same(
            stream in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            let singly = bytes.chunks(1);
            let whole = events([bytes]).unwrap();
            prop_assert_eq!(&events(pieces).unwrap(), &whole);
            prop_assert_eq!(&events(singly).unwrap(), &whole);
        }

        #[test]
        fn no_bytes_are_too_damaged_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let (mut events, mut found) = (Events::default(), Vec::new());
            prop_assert!(events.read(&bytes, &mut found).is_ok());
            drop(events.end());
        }
    }
}
