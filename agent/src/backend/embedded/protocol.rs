//! What agent and worker say to each other: a length in four bytes, little-endian, then one protobuf message.
//!
//! Both are the same program of the same version, so nothing here has to stay readable. The agent begins with one
//! [`Load`] and goes on with [`Ask`] and [`Cancel`]; the worker answers each load and each question with one ending
//! ([`Loaded`], [`Done`] or [`Failed`]), tokens before it. There is no farewell: end of file ends the worker.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use prost::{Enumeration, Message, Oneof};

/// From the agent.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// Number of the request; its replies carry it. 0 is the load.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// What to do.
    #[prost(oneof = "Order", tags = "2, 3, 4")]
    pub order: Option<Order>,
}

/// What to do.
#[derive(Clone, PartialEq, Oneof)]
pub enum Order {
    /// Bring a model into memory.
    #[prost(message, tag = "2")]
    Load(Load),
    /// Answer a question.
    #[prost(message, tag = "3")]
    Ask(Ask),
    /// Give up on the question of this number; it still has its ending.
    #[prost(message, tag = "4")]
    Cancel(Cancel),
}

/// Brings a model into memory.
#[derive(Clone, PartialEq, Message)]
pub struct Load {
    /// The language model's file; empty for the shipped model.
    #[prost(bytes = "vec", tag = "1")]
    pub model: Vec<u8>,
    /// Its projector's file; empty for the shipped model.
    #[prost(bytes = "vec", tag = "2")]
    pub mmproj: Vec<u8>,
    /// Where the shipped model is written to.
    #[prost(bytes = "vec", tag = "3")]
    pub shipped_folder: Vec<u8>,
    /// What the weights have to be; empty for anything.
    #[prost(string, tag = "4")]
    pub precision: String,
    /// Threads that compute.
    #[prost(uint32, tag = "5")]
    pub threads: u32,
    /// Most tokens of prompt and answer.
    #[prost(uint32, tag = "6")]
    pub context: u32,
    /// Layers kept on the GPU.
    #[prost(uint32, tag = "7")]
    pub gpu_layers: u32,
}

/// Answers a question.
#[derive(Clone, PartialEq, Message)]
pub struct Ask {
    /// A PNG or JPEG file; empty for none.
    #[prost(bytes = "vec", tag = "1")]
    pub picture: Vec<u8>,
    /// What is asked.
    #[prost(string, tag = "2")]
    pub prompt: String,
    /// Most tokens of the answer.
    #[prost(uint32, tag = "3")]
    pub max_tokens: u32,
    /// Draw tokens instead of taking the likeliest.
    #[prost(message, optional, tag = "4")]
    pub seeded: Option<Seeded>,
    /// Diagnostics: stamp each token when it is written.
    #[prost(bool, tag = "5")]
    pub has_stamps: bool,
    /// What was said before.
    #[prost(message, repeated, tag = "6")]
    pub history: Vec<Turn>,
    /// Give the answer all of its tokens.
    #[prost(bool, tag = "7")]
    pub is_fixed_length: bool,
}

/// Something said in a conversation.
#[derive(Clone, PartialEq, Message)]
pub struct Turn {
    /// Who said it.
    #[prost(enumeration = "Speaker", tag = "1")]
    pub speaker: i32,
    /// What.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, Enumeration, Eq, PartialEq)]
#[repr(i32)]
pub enum Speaker {
    /// Who asks.
    User = 0,
    /// Who answers.
    Assistant = 1,
    /// Rules for the conversation.
    System = 2,
}

/// Tokens are drawn.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Seeded {
    /// Above 0.
    #[prost(double, tag = "1")]
    pub temperature: f64,
    /// Of the generator.
    #[prost(uint32, tag = "2")]
    pub seed: u32,
}

/// Gives up on a question.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Cancel {}

/// From the worker.
#[derive(Clone, PartialEq, Message)]
pub struct Reply {
    /// Number of the request that it belongs to.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// What came of it.
    #[prost(oneof = "Outcome", tags = "2, 3, 4, 5")]
    pub outcome: Option<Outcome>,
}

/// What came of a request.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    /// The model is in memory.
    #[prost(message, tag = "2")]
    Loaded(Loaded),
    /// One token of the answer.
    #[prost(message, tag = "3")]
    Token(Token),
    /// The end of an answer.
    #[prost(message, tag = "4")]
    Done(Done),
    /// No model, or no answer.
    #[prost(message, tag = "5")]
    Failed(Failed),
}

/// The model is in memory.
#[derive(Clone, PartialEq, Message)]
pub struct Loaded {
    /// Where the model lies.
    #[prost(bytes = "vec", tag = "1")]
    pub model: Vec<u8>,
    /// Where the projector lies.
    #[prost(bytes = "vec", tag = "2")]
    pub mmproj: Vec<u8>,
    /// The engine and its revision.
    #[prost(string, tag = "3")]
    pub engine: String,
    /// The file's `general.name`.
    #[prost(string, optional, tag = "4")]
    pub name: Option<String>,
    /// Precision class of the weights.
    #[prost(string, optional, tag = "5")]
    pub precision: Option<String>,
    /// Precision class of the projector.
    #[prost(string, optional, tag = "6")]
    pub mmproj_precision: Option<String>,
    /// What the files say of themselves.
    #[prost(btree_map = "string, string", tag = "7")]
    pub facts: BTreeMap<String, String>,
    /// Settings that change speed or answers.
    #[prost(btree_map = "string, string", tag = "8")]
    pub flags: BTreeMap<String, String>,
}

/// One token of an answer.
#[derive(Clone, PartialEq, Message)]
pub struct Token {
    /// Its number in the vocabulary.
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// Its text; empty for a special token, and a character may be split over two.
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
    /// Diagnostics: nanoseconds on the machine's monotonic clock just before it was written.
    #[prost(uint64, optional, tag = "3")]
    pub written_ns: Option<u64>,
}

/// The end of an answer.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Done {
    /// Whether the token limit ended it.
    #[prost(bool, tag = "1")]
    pub is_truncated: bool,
    /// Tokens read, those of the picture included.
    #[prost(uint32, tag = "2")]
    pub prompt_tokens: u32,
    /// Tokens of the picture.
    #[prost(uint32, tag = "3")]
    pub image_tokens: u32,
    /// Tokens of the answer.
    #[prost(uint32, tag = "4")]
    pub completion_tokens: u32,
    /// Microseconds in the picture encoder.
    #[prost(uint64, optional, tag = "5")]
    pub image_encode_us: Option<u64>,
    /// Microseconds up to the first choice of a token.
    #[prost(uint64, tag = "6")]
    pub prefill_us: u64,
    /// Microseconds from there to the end.
    #[prost(uint64, tag = "7")]
    pub decode_us: u64,
}

/// No model, or no answer.
#[derive(Clone, PartialEq, Message)]
pub struct Failed {
    /// Whether it is about this question only.
    #[prost(bool, tag = "1")]
    pub is_about_the_question: bool,
    /// What is wrong with what.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Bytes from a pipe, put together to frames.
#[derive(Default)]
pub struct Frames {
    pending: Vec<u8>,
    /// Where the next frame begins in `pending`.
    start: usize,
}

/// Appends one frame to `bytes`.
///
/// # Errors
/// The message is longer than a frame may be.
pub fn put_frame(message: &impl Message, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        let problem = format!("a message of {length} bytes, at most {FRAME_BYTES_MAX} are sent");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let head = u32::try_from(length).expect("the bound fits 32 bits");
    bytes.extend(head.to_le_bytes());
    message
        .encode(bytes)
        .expect("a vector grows with what is put into it");
    Ok(())
}

/// Reads one frame; nothing at the end of the file.
///
/// # Errors
/// The pipe broke inside a frame, or what came is no message.
pub fn read_frame<M: Message + Default>(pipe: &mut impl Read) -> io::Result<Option<M>> {
    let mut head = [0; HEAD_BYTES];
    match pipe.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; length(head)?];
    pipe.read_exact(&mut body)?;
    Ok(Some(M::decode(body.as_slice())?))
}

impl Frames {
    /// Takes what came off the pipe.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.start);
        self.start = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// What came is no message.
    pub fn take<M: Message + Default>(&mut self) -> io::Result<Option<M>> {
        let rest = &self.pending[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let Some(body) = rest.get(..length(*head)?) else {
            return Ok(None);
        };
        let message = M::decode(body)?;
        self.start += HEAD_BYTES + body.len();
        Ok(Some(message))
    }
}

fn length(head: [u8; HEAD_BYTES]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(head)).expect("32 bits fit");
    if length > FRAME_BYTES_MAX {
        let problem = format!("a frame of {length} bytes, at most {FRAME_BYTES_MAX} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(length)
}

const HEAD_BYTES: usize = 4;
/// More than the file of the largest picture that is looked at; a bound on what a broken pipe can make us allocate.
const FRAME_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(request: u64, text: &[u8]) -> Reply {
        Reply {
            request,
            outcome: Some(Outcome::Token(Token {
                id: 7,
                bytes: text.to_vec(),
                written_ns: None,
            })),
        }
    }

    #[test]
    fn a_frame_too_long_is_refused_before_it_is_allocated() {
        let head = u32::MAX.to_le_bytes();
        let mut frames = Frames::default();
        frames.push(&head);
        assert!(frames.take::<Reply>().is_err());
        assert!(read_frame::<Reply>(&mut head.as_slice()).is_err());
    }

    #[test]
    fn the_end_between_frames_is_an_end_and_inside_one_an_error() {
        let mut bytes = Vec::new();
        put_frame(&token(1, b"a"), &mut bytes).unwrap();
        assert!(read_frame::<Reply>(&mut [].as_slice()).unwrap().is_none());
        assert!(read_frame::<Reply>(&mut &bytes[..bytes.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
            cut in 1_usize..40,
        ) {
            let sent: Vec<_> = (0..).zip(&texts).map(|(request, text)| token(request, text)).collect();
            let mut bytes = Vec::new();
            for message in &sent {
                put_frame(message, &mut bytes).unwrap();
            }
            let mut frames = Frames::default();
            let mut came = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.take::<Reply>().unwrap() {
                    came.push(message);
                }
            }
            prop_assert_eq!(came, sent);
        }
    }
}
