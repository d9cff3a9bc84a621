//! A model in memory that answers questions about pictures, one at a time.

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf, time::Duration};

pub use crate::sampler::Sampling;
use crate::{
    EngineError, cpu,
    gguf::Gguf,
    llama::{self, Computing, Llama, Prompt, Token},
    picture,
    sampler::Sampler,
    template::{CHATML, Template},
};

/// A model in memory.
pub struct Engine {
    llama: Llama,
    template: Template,
    description: Description,
    /// The tokens that end an answer.
    ends: Vec<usize>,
    /// A token's text, kept between tokens to save the allocation.
    spelled: Vec<u8>,
}

/// What to load, and how to compute.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The language model's GGUF file.
    pub model: PathBuf,
    /// Its projector's GGUF file.
    pub mmproj: PathBuf,
    /// What the model's file has to be, as in file names: `q8_0`. Absent: anything.
    pub precision: Option<String>,
    /// Threads that compute, at least 1.
    pub threads: u32,
    /// Most tokens of a prompt and its answer; no more than the model was trained for.
    pub context: u32,
    /// Layers kept on the GPU; 0 is the processor alone.
    pub gpu_layers: u32,
}

/// What was loaded.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// The engine and its revision.
    pub engine: String,
    /// The file's `general.name`.
    pub name: Option<String>,
    /// Precision class of the weights: `f32`, `q4_k_m`.
    pub precision: Option<String>,
    /// Precision class of the projector.
    pub mmproj_precision: Option<String>,
    /// What the files say of themselves: architecture, parameters, quantisation.
    pub facts: BTreeMap<String, String>,
    /// Settings that change speed or answers.
    pub flags: BTreeMap<String, String>,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What was said before it.
    pub history: &'a [Turn<'a>],
    /// A PNG or JPEG file.
    pub picture: Option<&'a [u8]>,
    /// What is asked of it.
    pub prompt: &'a str,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Whether the answer is to have all of them: the tokens that end one are then never chosen.
    pub is_fixed_length: bool,
    /// How they are chosen.
    pub sampling: Sampling,
}

/// Something said in a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Who said it.
    pub speaker: Speaker,
    /// What.
    pub text: &'a str,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaker {
    /// Rules for the conversation, before it begins.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
}

/// What an answer cost. Its tokens went to the caller one by one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// How it ended.
    pub finish: Finish,
    /// Tokens read, those of the picture included.
    pub prompt_tokens: u32,
    /// Tokens of the picture.
    pub image_tokens: u32,
    /// Tokens generated, as servers count them: the one that ends an answer is counted and not given to the caller.
    pub completion_tokens: u32,
    /// In the picture encoder; absent without a picture.
    pub image_encode: Option<Duration>,
    /// From the question to the first choice of a token, picture included.
    pub prefill: Duration,
    /// From there to the end.
    pub decode: Duration,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// The caller wants no more of it.
    Abandoned,
}

/// A prompt that was read.
struct Prefilled {
    position: i32,
    prompt_tokens: u32,
    image_tokens: u32,
    image_encode: Option<Duration>,
}

impl Engine {
    /// Checks processor and files, then loads them.
    ///
    /// # Errors
    /// The processor is too old, a file is damaged or of another kind, or llama.cpp refuses it.
    pub fn load(options: &LoadOptions) -> Result<Self, EngineError> {
        cpu::check()?;
        let model = open(&options.model)?;
        let mmproj = open(&options.mmproj)?;
        check_kinds(options, &model, &mmproj)?;
        let llama = Llama::load(
            &options.model,
            &options.mmproj,
            &Computing {
                threads: i32::try_from(options.threads.max(1)).unwrap_or(i32::MAX),
                context: options.context,
                gpu_layers: i32::try_from(options.gpu_layers).unwrap_or(i32::MAX),
            },
        )?;
        if !llama.sees() {
            return Err(mismatch(&options.mmproj, "has no picture encoder"));
        }
        let source = model.text(CHAT_TEMPLATE);
        Ok(Self {
            template: Template::new(source.unwrap_or(CHATML), llama.bos(), llama.eos())?,
            description: describe(options, &model, &mmproj, &llama),
            ends: llama.ends(),
            spelled: Vec::new(),
            llama,
        })
    }

    /// Answers one question; each token goes to `on_token` before the next one is computed.
    ///
    /// # Errors
    /// The picture cannot be looked at, the question does not fit, or llama.cpp gives up.
    pub fn ask(
        &mut self,
        ask: &Ask<'_>,
        on_token: impl FnMut(Token, &[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, EngineError> {
        let start = llama::now_us();
        let prompt = self.prepare(ask)?;
        self.llama.clear();
        let prefilled = self.prefill(&prompt)?;
        let middle = llama::now_us();
        let (finish, completion_tokens) = self.decode(ask, prefilled.position, on_token)?;
        Ok(Answer {
            finish,
            prompt_tokens: prefilled.prompt_tokens,
            image_tokens: prefilled.image_tokens,
            completion_tokens,
            image_encode: prefilled.image_encode,
            prefill: Duration::from_micros(middle - start),
            decode: Duration::from_micros(llama::now_us() - middle),
        })
    }

    /// What was loaded.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// The prompt as the model gets it, a marker standing for the picture.
    ///
    /// # Errors
    /// The model's chat template refuses it.
    pub fn render(
        &self,
        history: &[Turn<'_>],
        prompt: &str,
        has_picture: bool,
    ) -> Result<String, EngineError> {
        let marker = has_picture.then(llama::picture_marker).unwrap_or_default();
        self.template.render(history, &format!("{marker}{prompt}"))
    }

    fn prepare(&self, ask: &Ask<'_>) -> Result<Prompt, EngineError> {
        if let Some(file) = ask.picture {
            picture::check(file)?;
        }
        let rendered = self.render(ask.history, ask.prompt, ask.picture.is_some())?;
        let add_special = !self.template.begins(&rendered);
        let prompt = self.llama.tokenize(&rendered, ask.picture, add_special)?;
        let n_tokens: u32 = prompt.pieces().map(|piece| piece.n_tokens).sum();
        let context = self.llama.context_length();
        if n_tokens.saturating_add(ask.max_tokens) > context {
            return Err(EngineError::TooLong {
                prompt: n_tokens,
                answer: ask.max_tokens,
                context,
            });
        }
        Ok(prompt)
    }

    fn prefill(&mut self, prompt: &Prompt) -> Result<Prefilled, EngineError> {
        let mut done = Prefilled {
            position: 0,
            prompt_tokens: 0,
            image_tokens: 0,
            image_encode: None,
        };
        let mut pieces = prompt.pieces().peekable();
        while let Some(piece) = pieces.next() {
            done.prompt_tokens += piece.n_tokens;
            if piece.is_picture {
                let start = llama::now_us();
                self.llama.encode_picture(piece)?;
                let encode = Duration::from_micros(llama::now_us() - start);
                *done.image_encode.get_or_insert_default() += encode;
                done.image_tokens += piece.n_tokens;
                done.position = self.llama.read_picture(piece, done.position)?;
            } else {
                let is_last = pieces.peek().is_none();
                done.position = self.llama.read_text(piece, done.position, is_last)?;
            }
        }
        Ok(done)
    }

    fn decode(
        &mut self,
        ask: &Ask<'_>,
        mut position: i32,
        mut on_token: impl FnMut(Token, &[u8]) -> ControlFlow<()>,
    ) -> Result<(Finish, u32), EngineError> {
        let never: &[usize] = if ask.is_fixed_length { &self.ends } else { &[] };
        let mut sampler = Sampler::new(ask.sampling, never);
        for n_tokens in 0..ask.max_tokens {
            let token = sampler.choose(self.llama.logits()?);
            let token = Token::try_from(token).expect("a vocabulary is smaller than 2³¹");
            if self.llama.is_end(token) {
                return Ok((Finish::Stop, n_tokens + 1));
            }
            self.llama.spell(token, &mut self.spelled);
            if on_token(token, &self.spelled).is_break() {
                return Ok((Finish::Abandoned, n_tokens + 1));
            }
            // The limit's last token needs no successor.
            if n_tokens + 1 < ask.max_tokens {
                self.llama.read_token(token, position)?;
                position += 1;
            }
        }
        Ok((Finish::Length, ask.max_tokens))
    }
}

fn open(path: &std::path::Path) -> Result<Gguf, EngineError> {
    Gguf::open(path).map_err(|source| EngineError::Gguf {
        path: path.to_owned(),
        source,
    })
}

fn check_kinds(options: &LoadOptions, model: &Gguf, mmproj: &Gguf) -> Result<(), EngineError> {
    if is_projector(model) {
        let problem = "is a projector: give it as mmproj, and the language model as model";
        return Err(mismatch(&options.model, problem));
    }
    if !is_projector(mmproj) {
        let architecture = mmproj.text(ARCHITECTURE).unwrap_or("of no architecture");
        let problem = format!(
            "is a language model ({architecture}), not a projector: give the `mmproj` file that came with the model"
        );
        return Err(mismatch(&options.mmproj, &problem));
    }
    let found = model.precision().unwrap_or("unknown");
    match options.precision.as_deref() {
        Some(wanted) if wanted != found => {
            let problem =
                format!("holds weights in {found}, not in {wanted}: name a file that does");
            Err(mismatch(&options.model, &problem))
        }
        _ => Ok(()),
    }
}

fn is_projector(gguf: &Gguf) -> bool {
    gguf.text(ARCHITECTURE) == Some("clip")
}

fn mismatch(path: &std::path::Path, problem: &str) -> EngineError {
    EngineError::Mismatch {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

fn describe(options: &LoadOptions, model: &Gguf, mmproj: &Gguf, llama: &Llama) -> Description {
    let mut facts = model.facts();
    facts.insert("parameters".into(), model.n_weights().to_string());
    facts.insert("mmproj.parameters".into(), mmproj.n_weights().to_string());
    if let Some(projector) = mmproj.text("clip.projector_type") {
        facts.insert("mmproj.projector".into(), projector.to_owned());
    }
    Description {
        engine: llama::version(),
        name: model.text("general.name").map(str::to_owned),
        precision: model.precision().map(str::to_owned),
        mmproj_precision: mmproj.precision().map(str::to_owned),
        facts,
        flags: flags(options, model.text(CHAT_TEMPLATE).is_some(), llama),
    }
}

fn flags(options: &LoadOptions, has_template: bool, llama: &Llama) -> BTreeMap<String, String> {
    let template = if has_template {
        "the model's own"
    } else {
        "chatml: the file has none"
    };
    let flags = [
        ("threads", options.threads.max(1).to_string()),
        ("context", llama.context_length().to_string()),
        ("gpu_layers", options.gpu_layers.to_string()),
        ("n_batch", llama::N_BATCH.to_string()),
        ("n_ubatch", "512".to_owned()),
        ("flash_attention", "auto".to_owned()),
        ("kv_cache", "f16".to_owned()),
        ("chat_template", template.to_owned()),
        ("compiled_for", cpu::FEATURES.to_owned()),
        ("system", llama::system()),
    ];
    flags.map(|(name, value)| (name.to_owned(), value)).into()
}

const ARCHITECTURE: &str = "general.architecture";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
