//! NVIDIA's `nvpmodel`: which power modes there are, which is in force, and the program that switches between them.
//!
//! Its exit code says little: it can be an error where one of many limits could not be set, and none where the mode needs a
//! reboot and stayed as it was. So after every switch the program is asked which mode is in force, and that counts.

use std::{
    env,
    fs::File,
    io::{self, Read, Seek, Write},
    iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Access, MemfdFlags, access, memfd_create},
    process::geteuid,
};

use super::{HostRoot, Unlearnt, jetson::PowerMode};

/// The program.
#[derive(Clone, Debug)]
pub struct Nvpmodel(PathBuf);

/// The power mode is not what it should be, or not known.
#[derive(Debug, thiserror::Error)]
pub enum NvpmodelError {
    /// This machine has no such program.
    #[error(
        "no program `nvpmodel` in PATH or {SBIN}, and root takes none that others may write: only a Jetson has power modes, and there the package nvidia-l4t-nvpmodel brings it"
    )]
    NotFound,
    /// It cannot be run, or does not end.
    #[error("cannot run `{}`", program.display())]
    Run {
        /// Where it is.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not say which mode is in force.
    #[error("`{} -q` names no power mode, it says: {said}", program.display())]
    Silent {
        /// Where it is.
        program: PathBuf,
        /// What it says instead.
        said: String,
    },
    /// It was asked for a mode, and another one is in force.
    #[error("power mode {wanted} did not take, {in_force} is in force; nvpmodel says: {said}")]
    NotTaken {
        /// The number it was asked for.
        wanted: u32,
        /// What it is instead.
        in_force: PowerMode,
        /// Its words; that a reboot is needed stands there.
        said: String,
    },
}

impl Nvpmodel {
    /// Looks for it, see [`find_program`].
    ///
    /// # Errors
    /// It is nowhere.
    pub fn find() -> Result<Self, NvpmodelError> {
        let found = find_program("nvpmodel");
        found.map(Self).ok_or(NvpmodelError::NotFound)
    }

    /// The program at this path.
    pub fn at(program: PathBuf) -> Self {
        Self(program)
    }

    /// Where it is.
    pub fn program(&self) -> &PathBuf {
        &self.0
    }

    /// Which mode is in force. Needs no root.
    ///
    /// # Errors
    /// It cannot be run, or names none.
    pub fn query(&self) -> Result<PowerMode, NvpmodelError> {
        let said = self.call(&["-q"])?;
        PowerMode::parse(&said).ok_or_else(|| NvpmodelError::Silent {
            program: self.0.clone(),
            said: in_short(&said),
        })
    }

    /// Puts a mode in force, if it is not, and asks which one is. A mode that needs a reboot does not get it.
    ///
    /// # Errors
    /// Another mode is in force afterwards.
    pub fn switch(&self, id: u32) -> Result<PowerMode, NvpmodelError> {
        let before = self.query()?;
        if before.id == id {
            return Ok(before);
        }
        let said = self.call(&["-m", &id.to_string()])?;
        let in_force = self.query()?;
        if in_force.id == id {
            return Ok(in_force);
        }
        Err(NvpmodelError::NotTaken {
            wanted: id,
            in_force,
            said: in_short(&said),
        })
    }

    fn call(&self, arguments: &[&str]) -> Result<String, NvpmodelError> {
        self.run(arguments).map_err(|source| NvpmodelError::Run {
            program: self.0.clone(),
            source,
        })
    }

    /// Everything that it says, errors among it, within [`PATIENCE`]. Whatever it asks, the answer is no.
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        // In memory, so that neither a full pipe nor somebody who inherits it keeps anybody waiting.
        let mut output = File::from(memfd_create("nvpmodel", MemfdFlags::CLOEXEC)?);
        let mut child = Command::new(&self.0)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()?;
        if let Some(mut answer) = child.stdin.take() {
            // It may have ended without asking.
            answer.write_all(b"no\n").ok();
        }
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if child.try_wait()?.is_some() {
                output.rewind()?;
                let mut said = Vec::new();
                output.take(OUTPUT_BYTES_MAX).read_to_end(&mut said)?;
                return Ok(String::from_utf8_lossy(&said).into_owned());
            }
            thread::sleep(LOOK_EVERY);
        }
        child.kill()?;
        child.wait()?;
        let message = format!("it did not end within {PATIENCE:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    }
}

/// A program of NVIDIA's: in PATH, or where those for root are, which an ordinary user's PATH lacks. Root gets none that
/// somebody else could have put there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(iter::once(SBIN.into()));
    find_in(folders, name, geteuid().is_root())
}

/// A relative folder, which an empty entry of PATH is too, means another one wherever the agent is started.
fn find_in(
    folders: impl Iterator<Item = PathBuf>,
    name: &str,
    is_for_root: bool,
) -> Option<PathBuf> {
    let folders = folders.filter(|folder| folder.is_absolute());
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| {
        program.is_file()
            && access(program, Access::EXEC_OK).is_ok()
            && (!is_for_root || only_root_changes(program))
    })
}

/// The program, where it is, and where a link leads.
fn only_root_changes(program: &Path) -> bool {
    let Ok(target) = program.canonicalize() else {
        return false;
    };
    let places = [program.parent(), Some(&*target), target.parent()];
    places.into_iter().flatten().all(|place| {
        place
            .metadata()
            .is_ok_and(|found| only_root_writes(found.uid(), found.gid(), found.mode()))
    })
}

/// Root's own group is no other.
fn only_root_writes(uid: u32, gid: u32, mode: u32) -> bool {
    let is_group_kept_out = gid == 0 || mode & 0o020 == 0;
    uid == 0 && is_group_kept_out && mode & 0o002 == 0
}

/// `MAXN (0), MODE_30W (2)`.
pub fn list(modes: &[PowerMode]) -> String {
    let names: Vec<String> = modes.iter().map(PowerMode::to_string).collect();
    names.join(", ")
}

/// The modes that this device has, in the order of its table.
///
/// # Errors
/// There is no table, or nothing in it.
pub fn table(root: &HostRoot) -> Result<Vec<PowerMode>, Unlearnt> {
    let text = root.read(TABLE)?;
    let modes: Vec<PowerMode> = text.lines().filter_map(mode).collect();
    if modes.is_empty() {
        return Err(lacks(TABLE, "power mode"));
    }
    Ok(modes)
}

/// The mode in force, if that can be learnt. A mode that has no name is called by its number.
pub fn in_force(root: &HostRoot) -> Option<PowerMode> {
    let id = id_in_force(root).ok()?;
    let mode = name_in_force(root).unwrap_or_else(|_| id.to_string());
    Some(PowerMode { mode, id })
}

pub(super) fn id_in_force(root: &HostRoot) -> Result<u32, Unlearnt> {
    kept_id(root).or_else(|reason| asked(root).map(|mode| mode.id).ok_or(reason))
}

pub(super) fn name_in_force(root: &HostRoot) -> Result<String, Unlearnt> {
    kept_name(root).or_else(|reason| asked(root).map(|mode| mode.mode).ok_or(reason))
}

/// What the program wrote down when it last switched: `pmode:0002`.
fn kept_id(root: &HostRoot) -> Result<u32, Unlearnt> {
    let text = root.read(STATE)?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("pmode:")?.parse().ok())
        .ok_or(lacks(STATE, "pmode"))
}

fn kept_name(root: &HostRoot) -> Result<String, Unlearnt> {
    let id = kept_id(root)?;
    let named = table(root)?.into_iter().find(|mode| mode.id == id);
    named
        .map(|mode| mode.mode)
        .ok_or(lacks(TABLE, "name for the mode in force"))
}

/// The program's word, where its file is missing; a recorded tree has no program.
fn asked(root: &HostRoot) -> Option<PowerMode> {
    let nvpmodel = root.is_system().then(Nvpmodel::find)?;
    nvpmodel.ok()?.query().ok()
}

/// `< POWER_MODEL ID=0 NAME=MAXN >`.
fn mode(line: &str) -> Option<PowerMode> {
    let model = line.trim().strip_prefix('<')?.strip_suffix('>')?;
    let fields = model.trim().strip_prefix("POWER_MODEL")?;
    let field = |name: &str| {
        let mut words = fields.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    Some(PowerMode {
        mode: field("NAME")?.to_owned(),
        id: field("ID")?.parse().ok()?,
    })
}

/// Its lines in one, the last ones if they are many.
fn in_short(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    match lines.len() {
        0 => "nothing".to_owned(),
        n => lines[n.saturating_sub(LINES_MAX)..].join("; "),
    }
}

fn lacks(path: &str, what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: path.to_owned(),
        what,
    }
}

/// Where NVIDIA's package puts it.
const SBIN: &str = "/usr/sbin";

const TABLE: &str = "/etc/nvpmodel.conf";
const STATE: &str = "/var/lib/nvpmodel/status";

/// A switch takes a second or two; one that powers parts of the GPU up or down takes several.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Two lines are what is wanted, a few for each core are what can come.
const OUTPUT_BYTES_MAX: u64 = 1 << 16;

/// Lines that are quoted: the question about the reboot and what follows a no.
const LINES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    #[test]
    fn a_relative_folder_of_path_never_counts() {
        let folder = tempfile::tempdir().unwrap();
        let program = executable(folder.path());
        let here = env::current_dir().unwrap();
        let mut relative = PathBuf::from_iter(here.components().skip(1).map(|_| ".."));
        relative.push(folder.path().strip_prefix("/").unwrap());
        assert!(relative.join("nvpmodel").is_file());
        let find = |folders: &[&Path]| {
            let folders = folders.iter().map(|folder| folder.to_path_buf());
            find_in(folders, "nvpmodel", false)
        };
        assert_eq!(find(&[Path::new(""), &relative]), None);
        assert_eq!(find(&[&relative, folder.path()]), Some(program));
    }

    #[test]
    fn root_takes_no_program_that_others_could_have_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let program = executable(folder.path());
        let find = |is_for_root| {
            let folders = iter::once(folder.path().to_owned());
            find_in(folders, "nvpmodel", is_for_root)
        };
        let for_root = geteuid().is_root().then(|| program.clone());
        assert_eq!(find(true), for_root);
        for place in [folder.path(), &program] {
            fs::set_permissions(place, Permissions::from_mode(0o757)).unwrap();
            assert_eq!(find(true), None);
            assert_eq!(find(false), Some(program.clone()));
            fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
            assert_eq!(find(true), for_root);
        }
    }

    #[test]
    fn what_root_runs_is_roots_and_nobody_else_may_write_it() {
        for (uid, gid, mode, want) in [
            (0, 0, 0o755, true),
            (0, 1000, 0o755, true),
            (0, 0, 0o775, true),
            (0, 1000, 0o775, false),
            (0, 0, 0o757, false),
            (1000, 0, 0o755, false),
        ] {
            assert_eq!(
                only_root_writes(uid, gid, mode),
                want,
                "{uid} {gid} {mode:o}"
            );
        }
    }

    fn executable(folder: &Path) -> PathBuf {
        let program = folder.join("nvpmodel");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn a_mode_is_found_by_number_not_by_place() {
        let want = PowerMode {
            mode: "MODE_30W".to_owned(),
            id: 2,
        };
        assert_eq!(
            mode("< POWER_MODEL ID=2 NAME=MODE_30W >"),
            Some(want.clone())
        );
        assert_eq!(mode("<POWER_MODEL ID=2 NAME=MODE_30W>"), Some(want));
        assert_eq!(mode("< PM_CONFIG DEFAULT=2 >"), None);
        assert_eq!(mode("CPU_ONLINE CORE_0 1"), None);
    }

    #[test]
    fn what_it_says_is_quoted_in_one_line_and_not_at_length() {
        assert_eq!(in_short("\n \n"), "nothing");
        assert_eq!(in_short("a\n\n b \n"), "a; b");
        assert_eq!(in_short("1\n2\n3\n4\n5\n6\n"), "3; 4; 5; 6");
    }
}
