//! Other power modes for a bench, and the original one again afterwards, however the agent ends.
//!
//! The mode belongs to a process of its own, `tokwatt-agent power-mode-keeper`. It alone runs `nvpmodel`, one call after the
//! other: a line on its standard input is the number of a mode to put in force, a line on its standard output says which one
//! is. When its input closes it puts the original mode back, reads that back, and says so on standard error. The kernel closes
//! the pipe of an agent that was killed by SIGKILL too; and since a switch in hand is finished first, none can come after the
//! putting back.
//!
//! What ends the agent politely does not end the keeper: it has a process group of its own, where Ctrl-C does not reach, and
//! ignores the signals of a closing session. If it is killed all the same, the agent puts the mode back itself.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::device::{
    jetson::PowerMode,
    nvpmodel::{Nvpmodel, NvpmodelError, list},
};

/// A power mode for some runs, and what puts it in force.
#[derive(Clone, Debug)]
pub struct Target {
    /// The mode, as the device's table has it.
    pub mode: PowerMode,
    /// Shared by all runs of the bench.
    pub switch: Arc<Switch>,
}

/// Puts modes in force. Dropping it puts the original one back.
#[derive(Debug)]
pub struct Switch {
    nvpmodel: Nvpmodel,
    original: PowerMode,
    /// Gone once the original mode was put back.
    keeper: Mutex<Option<Keeper>>,
}

/// No mode that is asked for, or none of that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadMode {
    /// The device's table does not have it.
    #[error("no power mode `{word}`, this device has {there}")]
    Unknown {
        /// As it was given.
        word: String,
        /// What there is.
        there: String,
    },
    /// Its cells would be run twice.
    #[error("power mode {0} is named twice")]
    Twice(PowerMode),
}

#[derive(Debug)]
struct Keeper {
    child: Child,
    replies: BufReader<ChildStdout>,
}

/// A line of the keeper's.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    InForce { id: u32, mode: String },
    Problem(String),
}

impl Switch {
    /// Starts the keeper; `agent` is the agent's program. Nothing is switched yet.
    ///
    /// # Errors
    /// The keeper cannot be started.
    pub fn start(agent: &Path, nvpmodel: Nvpmodel, original: PowerMode) -> io::Result<Self> {
        let mut child = Command::new(agent)
            .arg0("tokwatt-agent")
            .args(["power-mode-keeper", "--nvpmodel"])
            .arg(nvpmodel.program())
            .args(["--id", &original.id.to_string(), "--name", &original.mode])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let replies = child.stdout.take().expect("it was asked for just now");
        Ok(Self {
            nvpmodel,
            original,
            keeper: Mutex::new(Some(Keeper {
                child,
                replies: BufReader::new(replies),
            })),
        })
    }

    /// Puts a mode in force and says which one is; in words why it is another.
    ///
    /// # Errors
    /// The mode did not take, which is no reason not to try another one.
    pub fn to(&self, mode: &PowerMode) -> Result<PowerMode, String> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keeper) = keeper.as_mut() else {
            return Err(format!("{} was put back already", self.original));
        };
        match keeper.order(mode.id) {
            Ok(Reply::InForce { id, mode }) => Ok(PowerMode { mode, id }),
            Ok(Reply::Problem(problem)) => Err(problem),
            Err(error) => Err(format!("the power mode's keeper is gone: {error}")),
        }
    }

    /// Puts the original mode back, once; the keeper has told about it, or the error is to be told.
    ///
    /// # Errors
    /// In words, what a person has to type.
    pub fn put_back(&self) -> Result<(), String> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut keeper) = keeper.take() else {
            return Ok(());
        };
        match keeper.end() {
            Ok(true) => Ok(()),
            // It was killed, or failed and said so: one more try.
            Ok(false) | Err(_) => match put_back(&self.nvpmodel, &self.original) {
                Ok(_) => Ok(()),
                Err(error) => Err(not_put_back(&self.original, &error)),
            },
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(problem) = self.put_back() {
            tracing::error!("{problem}");
        }
    }
}

impl Keeper {
    fn order(&mut self, id: u32) -> io::Result<Reply> {
        let orders = self.child.stdin.as_mut().expect("it is closed by `end`");
        writeln!(orders, "{id}")?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Whether the original mode is in force.
    fn end(&mut self) -> io::Result<bool> {
        drop(self.child.stdin.take());
        Ok(self.child.wait()?.success())
    }
}

impl From<Result<PowerMode, NvpmodelError>> for Reply {
    fn from(switched: Result<PowerMode, NvpmodelError>) -> Self {
        match switched {
            Ok(PowerMode { mode, id }) => Self::InForce { id, mode },
            Err(error) => Self::Problem(in_full(&error)),
        }
    }
}

/// The keeper itself: obeys until the orders end, then puts the original mode back and says whether that was needed.
///
/// # Errors
/// In words, what a person has to type.
pub fn keep(
    nvpmodel: &Nvpmodel,
    original: &PowerMode,
    orders: impl BufRead,
    mut replies: impl Write,
) -> Result<bool, String> {
    for order in orders.lines().map_while(Result::ok) {
        let reply = match order.parse() {
            Ok(id) => nvpmodel.switch(id).into(),
            Err(_) => Reply::Problem(format!("`{order}` is no number of a power mode")),
        };
        let line = serde_json::to_string(&reply).expect("a number and two texts");
        // An agent that died meanwhile does not read; then the orders end, too.
        writeln!(replies, "{line}")
            .and_then(|()| replies.flush())
            .ok();
    }
    put_back(nvpmodel, original).map_err(|error| not_put_back(original, &error))
}

/// The modes that a person asked for, by number or name, in that order.
///
/// # Errors
/// A word that is no mode of this device; one that comes twice.
pub fn choose(words: &[String], table: &[PowerMode]) -> Result<Vec<PowerMode>, BadMode> {
    let mut chosen: Vec<PowerMode> = Vec::new();
    for word in words.iter().map(|word| word.trim()) {
        let is_meant =
            |mode: &&PowerMode| word.parse() == Ok(mode.id) || mode.mode.eq_ignore_ascii_case(word);
        let mode = table.iter().find(is_meant);
        let mode = mode.ok_or_else(|| BadMode::Unknown {
            word: word.to_owned(),
            there: list(table),
        })?;
        if chosen.contains(mode) {
            return Err(BadMode::Twice(mode.clone()));
        }
        chosen.push(mode.clone());
    }
    Ok(chosen)
}

/// Whether it was another one. Tries again: a signal that ends a whole session can end an `nvpmodel` at work.
fn put_back(nvpmodel: &Nvpmodel, original: &PowerMode) -> Result<bool, NvpmodelError> {
    let is_there = |mode: PowerMode| mode.id == original.id;
    if nvpmodel.query().is_ok_and(is_there) {
        return Ok(false);
    }
    let mut tried = nvpmodel.switch(original.id);
    for _ in 1..TRIES {
        if tried.is_err() {
            tried = nvpmodel.switch(original.id);
        }
    }
    tried.map(|_| true)
}

fn not_put_back(original: &PowerMode, error: &NvpmodelError) -> String {
    format!(
        "ATTENTION: the power mode is not {original} again, as it was before the bench: {}. Type: sudo nvpmodel -m {}",
        in_full(error),
        original.id
    )
}

/// An error with its causes.
fn in_full(error: &NvpmodelError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// How often the original mode is put back before a person is asked to.
const TRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<PowerMode> {
        let modes = [("MAXN", 0), ("15W", 1), ("MODE_30W", 2)];
        let mode = |(mode, id): (&str, u32)| PowerMode {
            mode: mode.to_owned(),
            id,
        };
        modes.map(mode).into()
    }

    #[track_caller]
    fn check(words: &str, want: Result<&[u32], &str>) {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        let chosen = choose(&words, &table()).map_err(|error| error.to_string());
        let ids = chosen.map(|modes| modes.iter().map(|mode| mode.id).collect::<Vec<_>>());
        assert_eq!(ids.as_deref().map_err(|error| &**error), want);
    }

    #[test]
    fn modes_are_named_by_number_or_name_and_keep_their_order() {
        check("2,MAXN", Ok(&[2, 0]));
        check("mode_30w, 15W", Ok(&[2, 1]));
        check(
            "7",
            Err("no power mode `7`, this device has MAXN (0), 15W (1), MODE_30W (2)"),
        );
        check(
            "15",
            Err("no power mode `15`, this device has MAXN (0), 15W (1), MODE_30W (2)"),
        );
        check("0,maxn", Err("power mode MAXN (0) is named twice"));
    }
}
