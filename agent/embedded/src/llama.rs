//! Everything that crosses into C++: the only place with `unsafe`.
//!
//! Why not the safe crate's model and context: it hides their pointers, and without them there is no thread pool to
//! attach (threads are then made anew for every token) and no way to time the picture encoder apart from the prompt.
//! What it can do (starting the backend, logs, the clock) is used from it.

#![expect(
    unsafe_code,
    reason = "llama.cpp is a C library; each call states what makes it sound"
)]

use std::{
    ffi::{CStr, CString, c_char},
    path::Path,
    ptr::{self, NonNull},
    slice,
    sync::OnceLock,
};

use llama_cpp_2::{LogOptions, llama_backend::LlamaBackend};
use llama_cpp_sys_2 as sys;

use crate::EngineError;

/// A model, its projector and one context, ready to compute.
///
/// Fields are dropped in this order: who is used outlives who uses it.
pub(crate) struct Llama {
    projector: Owned<sys::mtmd_context>,
    context: Owned<sys::llama_context>,
    pool: Option<Owned<sys::ggml_threadpool>>,
    model: Owned<sys::llama_model>,
    n_vocabulary: usize,
}

/// How to compute.
pub(crate) struct Computing {
    pub(crate) threads: i32,
    pub(crate) context: u32,
    /// Layers kept on the GPU; 0 is the processor alone.
    pub(crate) gpu_layers: i32,
}

/// A prompt in pieces: runs of text tokens and pictures.
pub(crate) struct Prompt(Owned<sys::mtmd_input_chunks>);

/// One piece of a [`Prompt`].
#[derive(Clone, Copy)]
pub(crate) struct Piece<'prompt> {
    pub(crate) n_tokens: u32,
    pub(crate) is_picture: bool,
    chunk: &'prompt sys::mtmd_input_chunk,
}

/// A token's number in the vocabulary.
pub(crate) type Token = i32;

/// Something of C++ that is ours to free.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, free })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that `free` belongs to, and nobody else frees it.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

impl Llama {
    /// Loads both files, which were checked before.
    pub(crate) fn load(
        model_path: &Path,
        mmproj_path: &Path,
        computing: &Computing,
    ) -> Result<Self, EngineError> {
        start();
        let refuse = |path: &Path| EngineError::Load {
            path: path.to_owned(),
        };
        let model = load_model(model_path, computing).ok_or_else(|| refuse(model_path))?;
        let context = make_context(&model, computing).ok_or_else(|| refuse(model_path))?;
        let pool = make_pool(computing.threads);
        if let Some(pool) = &pool {
            // SAFETY: both live in the struct made below, the pool longer than the context.
            unsafe { sys::llama_attach_threadpool(context.get(), pool.get(), ptr::null_mut()) }
        }
        let projector = load_projector(mmproj_path, &model, computing).ok_or_else(|| {
            EngineError::Projector {
                mmproj: mmproj_path.to_owned(),
                model: model_path.to_owned(),
            }
        })?;
        // SAFETY: the model is there, and its vocabulary lives as long as it.
        let n_vocabulary =
            unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model.get())) };
        Ok(Self {
            projector,
            context,
            pool,
            model,
            n_vocabulary: usize::try_from(n_vocabulary).expect("a count is not negative"),
        })
    }

    /// Splits a prompt into tokens, with the picture where its marker stands.
    pub(crate) fn tokenize(
        &self,
        prompt: &str,
        picture: Option<&[u8]>,
        add_special: bool,
    ) -> Result<Prompt, EngineError> {
        let bitmap = picture.map(|file| self.decode_picture(file)).transpose()?;
        let bitmaps: Vec<*const sys::mtmd_bitmap> = bitmap
            .iter()
            .map(|bitmap| bitmap.get().cast_const())
            .collect();
        let text = sys::mtmd_input_text {
            text: prompt.as_ptr().cast(),
            text_len: prompt.len(),
            add_special,
            parse_special: true,
        };
        // SAFETY: makes an empty list.
        let chunks = unsafe { sys::mtmd_input_chunks_init() };
        let chunks =
            Owned::new(chunks, sys::mtmd_input_chunks_free).expect("it never returns null");
        // SAFETY: text, length and pictures are borrowed for the call only; the text is read by its length.
        let code = unsafe {
            sys::mtmd_tokenize(
                self.projector.get(),
                chunks.get(),
                &raw const text,
                bitmaps.as_ptr(),
                bitmaps.len(),
            )
        };
        succeed("split the prompt into tokens", code)?;
        Ok(Prompt(chunks))
    }

    /// Forgets the last question.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the context is there. The data itself need not be wiped, only forgotten.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.get()), false) }
    }

    /// Runs a run of text through the model; returns the next position.
    pub(crate) fn read_text(
        &mut self,
        piece: Piece<'_>,
        position: i32,
        is_last: bool,
    ) -> Result<i32, EngineError> {
        let mut next = position;
        // SAFETY: `&mut self` keeps everybody else away; the piece borrows from a living prompt.
        let code = unsafe {
            sys::mtmd_helper_eval_chunk_single(
                self.projector.get(),
                self.context.get(),
                piece.chunk,
                position,
                0,
                N_BATCH,
                is_last,
                &raw mut next,
            )
        };
        succeed("read the prompt", code).map(|()| next)
    }

    /// Runs a picture through the encoder; its result is kept inside until the next one.
    ///
    /// The encoder brings threads of its own, and those of the pool would go on waiting for work by spinning, on the
    /// cores that it needs (two threads on two cores: 175 ms instead of 9). So they sleep meanwhile.
    pub(crate) fn encode_picture(&mut self, piece: Piece<'_>) -> Result<(), EngineError> {
        if let Some(pool) = &self.pool {
            // SAFETY: the pool is there and has no work: every computation is waited for.
            unsafe { sys::ggml_threadpool_pause(pool.get()) }
        }
        // SAFETY: as for `read_text`.
        let code = unsafe { sys::mtmd_encode_chunk(self.projector.get(), piece.chunk) };
        if let Some(pool) = &self.pool {
            // SAFETY: as above.
            unsafe { sys::ggml_threadpool_resume(pool.get()) }
        }
        succeed("encode the picture", code)
    }

    /// Runs what [`Llama::encode_picture`] made of the same piece through the model; returns the next position.
    pub(crate) fn read_picture(
        &mut self,
        piece: Piece<'_>,
        position: i32,
    ) -> Result<i32, EngineError> {
        let mut next = position;
        // SAFETY: as for `read_text`; the encoder's output has as many tokens as the piece that was encoded last.
        let code = unsafe {
            sys::mtmd_helper_decode_image_chunk(
                self.projector.get(),
                self.context.get(),
                piece.chunk,
                sys::mtmd_get_output_embd(self.projector.get()),
                position,
                0,
                N_BATCH,
                &raw mut next,
                None,
                ptr::null_mut(),
            )
        };
        succeed("read the picture", code).map(|()| next)
    }

    /// Runs one generated token through the model.
    pub(crate) fn read_token(
        &mut self,
        mut token: Token,
        mut position: i32,
    ) -> Result<(), EngineError> {
        let batch = sys::llama_batch {
            n_tokens: 1,
            token: &raw mut token,
            embd: ptr::null_mut(),
            pos: &raw mut position,
            // Absent means sequence 0 and logits of the last token.
            n_seq_id: ptr::null_mut(),
            seq_id: ptr::null_mut(),
            logits: ptr::null_mut(),
        };
        // SAFETY: token and position outlive the call, which copies them.
        let code = unsafe { sys::llama_decode(self.context.get(), batch) };
        succeed("generate a token", code)
    }

    /// How likely each token of the vocabulary is next.
    pub(crate) fn logits(&mut self) -> Result<&[f32], EngineError> {
        // SAFETY: waits for the computation; the pointer is valid until the next one, which takes `&mut self`.
        let logits = unsafe { sys::llama_get_logits_ith(self.context.get(), -1) };
        if logits.is_null() {
            return succeed("find the next token", -1).map(|()| [].as_slice());
        }
        // SAFETY: there is one for each token of the vocabulary.
        Ok(unsafe { slice::from_raw_parts(logits, self.n_vocabulary) })
    }

    /// Whether a token ends the answer.
    pub(crate) fn is_end(&self, token: Token) -> bool {
        // SAFETY: the vocabulary lives as long as the model; the token is one of its indices.
        unsafe { sys::llama_vocab_is_eog(self.vocabulary(), token) }
    }

    /// All tokens that end an answer.
    pub(crate) fn ends(&self) -> Vec<usize> {
        let is_end = |index: &usize| Token::try_from(*index).is_ok_and(|token| self.is_end(token));
        (0..self.n_vocabulary).filter(is_end).collect()
    }

    /// Replaces `bytes` by a token's text; nothing for a special token.
    pub(crate) fn spell(&self, token: Token, bytes: &mut Vec<u8>) {
        let mut room = bytes.capacity().max(PIECE_BYTES);
        loop {
            bytes.resize(room, 0);
            let length = i32::try_from(room).expect("a token's text is short");
            // SAFETY: it writes at most `length` bytes, which are there.
            let written = unsafe {
                sys::llama_token_to_piece(
                    self.vocabulary(),
                    token,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    length,
                    0,
                    false,
                )
            };
            match usize::try_from(written) {
                Ok(written) => return bytes.truncate(written),
                // A negative number is the room it takes.
                Err(_) => room = usize::try_from(written.unsigned_abs()).expect("32 bits fit"),
            }
        }
    }

    /// The text of the token that begins a prompt; empty if the model has none.
    pub(crate) fn bos(&self) -> String {
        // SAFETY: only reads the vocabulary.
        self.token_text(unsafe { sys::llama_vocab_bos(self.vocabulary()) })
    }

    /// The text of the token that ends an answer; empty if the model has none.
    pub(crate) fn eos(&self) -> String {
        // SAFETY: only reads the vocabulary.
        self.token_text(unsafe { sys::llama_vocab_eos(self.vocabulary()) })
    }

    /// Tokens that fit a prompt and its answer.
    pub(crate) fn context_length(&self) -> u32 {
        // SAFETY: only reads the context.
        unsafe { sys::llama_n_ctx(self.context.get()) }
    }

    /// Whether the projector brings pictures, not only sound.
    pub(crate) fn sees(&self) -> bool {
        // SAFETY: only reads the projector.
        unsafe { sys::mtmd_support_vision(self.projector.get()) }
    }

    fn decode_picture(&self, file: &[u8]) -> Result<Owned<sys::mtmd_bitmap>, EngineError> {
        // SAFETY: the bytes are borrowed for the call only and read by their length.
        let bitmap = unsafe {
            sys::mtmd_helper_bitmap_init_from_buf(
                self.projector.get(),
                file.as_ptr(),
                file.len(),
                false,
                sys::mtmd_helper_init_opt_default(),
            )
        };
        Owned::new(bitmap.bitmap, sys::mtmd_bitmap_free).ok_or_else(|| {
            EngineError::Picture("cannot be decoded: it is damaged or truncated".into())
        })
    }

    fn token_text(&self, token: Token) -> String {
        let is_one = usize::try_from(token).is_ok_and(|index| index < self.n_vocabulary);
        if !is_one {
            return String::new();
        }
        // SAFETY: the index was checked, and the text lives as long as the vocabulary.
        unsafe { copy_text(sys::llama_vocab_get_text(self.vocabulary(), token)) }
    }

    fn vocabulary(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is there.
        unsafe { sys::llama_model_get_vocab(self.model.get()) }
    }
}

impl Prompt {
    /// Its pieces in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        // SAFETY: the list is there and does not change.
        let n_pieces = unsafe { sys::mtmd_input_chunks_size(self.0.get()) };
        (0..n_pieces).map(|index| {
            // SAFETY: the index is below the size; the piece lives as long as the list.
            let chunk = unsafe { &*sys::mtmd_input_chunks_get(self.0.get(), index) };
            // SAFETY: only reads the piece.
            let (kind, n_tokens) = unsafe {
                (
                    sys::mtmd_input_chunk_get_type(chunk),
                    sys::mtmd_input_chunk_get_n_tokens(chunk),
                )
            };
            Piece {
                n_tokens: u32::try_from(n_tokens).unwrap_or(u32::MAX),
                is_picture: kind == sys::MTMD_INPUT_CHUNK_TYPE_IMAGE,
                chunk,
            }
        })
    }
}

/// Where a picture stands in a prompt.
pub(crate) fn picture_marker() -> String {
    // SAFETY: a constant text.
    unsafe { copy_text(sys::mtmd_default_marker()) }
}

/// Microseconds on the engine's own monotonic clock.
pub(crate) fn now_us() -> u64 {
    u64::try_from(llama_cpp_2::llama_time_us()).unwrap_or_default()
}

/// Version and revision of the compiled library, by its own word.
pub(crate) fn version() -> String {
    // SAFETY: constant texts.
    let (version, commit) = unsafe {
        (
            copy_text(sys::ggml_version()),
            copy_text(sys::ggml_commit()),
        )
    };
    format!("llama.cpp (llama-cpp-sys-2 0.1.161, ggml {version}, commit {commit})")
}

/// The instruction sets in use, by the library's own word.
pub(crate) fn system() -> String {
    start();
    // SAFETY: a text that lives until the next call, copied at once.
    unsafe { copy_text(sys::llama_print_system_info()) }
}

/// Starts the library once for the process, its logs going to `tracing`.
fn start() {
    static BACKEND: OnceLock<Option<LlamaBackend>> = OnceLock::new();
    BACKEND.get_or_init(|| {
        llama_cpp_2::send_logs_to_tracing(LogOptions::default());
        LlamaBackend::init().ok()
    });
}

fn load_model(path: &Path, computing: &Computing) -> Option<Owned<sys::llama_model>> {
    let path = c_path(path)?;
    // SAFETY: plain numbers.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.n_gpu_layers = computing.gpu_layers;
    // SAFETY: the path is a C string that outlives the call; a file it dislikes gives null.
    Owned::new(
        unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) },
        sys::llama_model_free,
    )
}

fn make_context(
    model: &Owned<sys::llama_model>,
    computing: &Computing,
) -> Option<Owned<sys::llama_context>> {
    // SAFETY: plain numbers; batch sizes, flash attention and cache types stay llama.cpp's defaults.
    let mut params = unsafe { sys::llama_context_default_params() };
    // SAFETY: only reads the model.
    let trained = unsafe { sys::llama_model_n_ctx_train(model.get()) };
    params.n_ctx = computing
        .context
        .min(u32::try_from(trained).unwrap_or(u32::MAX));
    params.n_threads = computing.threads;
    params.n_threads_batch = computing.threads;
    // SAFETY: the model outlives the context (order of fields in `Llama`).
    Owned::new(
        unsafe { sys::llama_init_from_model(model.get(), params) },
        sys::llama_free,
    )
}

fn make_pool(threads: i32) -> Option<Owned<sys::ggml_threadpool>> {
    // One thread is the caller's own.
    if threads < 2 {
        return None;
    }
    // SAFETY: plain numbers, read during the call only.
    let pool = unsafe {
        let mut params = sys::ggml_threadpool_params_default(threads);
        sys::ggml_threadpool_new(&raw mut params)
    };
    Owned::new(pool, sys::ggml_threadpool_free)
}

fn load_projector(
    path: &Path,
    model: &Owned<sys::llama_model>,
    computing: &Computing,
) -> Option<Owned<sys::mtmd_context>> {
    let path = c_path(path)?;
    // SAFETY: plain numbers and a constant marker.
    let mut params = unsafe { sys::mtmd_context_params_default() };
    params.use_gpu = computing.gpu_layers != 0;
    params.print_timings = false;
    params.n_threads = computing.threads;
    // SAFETY: the model outlives the projector (order of fields in `Llama`); one that does not fit gives null.
    Owned::new(
        unsafe { sys::mtmd_init_from_file(path.as_ptr(), model.get(), params) },
        sys::mtmd_free,
    )
}

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).ok()
}

fn succeed(step: &'static str, code: i32) -> Result<(), EngineError> {
    match code {
        0 => Ok(()),
        code => Err(EngineError::Compute { step, code }),
    }
}

/// # Safety
/// `text` is null or a C string that lives during the call.
unsafe fn copy_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Most prompt tokens handed over at once: llama.cpp's default for its own programs.
pub(crate) const N_BATCH: i32 = 2048;
/// Nearly every token is shorter.
const PIECE_BYTES: usize = 32;
