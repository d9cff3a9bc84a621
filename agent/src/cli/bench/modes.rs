//! `--power-modes`: all models once more in each mode, if a person agrees.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;
use tokwatt_domain::device::DeviceProfile;

use super::BenchArgs;
use crate::{
    device::{
        HostRoot,
        jetson::PowerMode,
        nvpmodel::{Nvpmodel, in_force, list, table},
    },
    power_mode::{Switch, Target, choose},
    runner::Group,
};

/// What is about to happen to a machine that may be somebody else's, too.
struct Plan<'a> {
    original: &'a PowerMode,
    modes: &'a [PowerMode],
    /// Idle baselines of the modes after the first.
    longer: Duration,
    are_clocks_held: bool,
}

/// The groups in each mode, the modes outermost. Nothing is switched yet.
pub(super) fn multiply(
    groups: Vec<Group>,
    args: &BenchArgs,
    device: &DeviceProfile,
    root: &HostRoot,
    baseline: Duration,
) -> anyhow::Result<Vec<Group>> {
    if args.power_modes.is_empty() {
        return Ok(groups);
    }
    let nvpmodel = Nvpmodel::find().context(FLAG)?;
    check_root(geteuid().is_root()).context(FLAG)?;
    let modes = table(root).context(FLAG)?;
    let modes = choose(&args.power_modes, &modes).context(FLAG)?;
    let original = nvpmodel.query().context(FLAG)?;
    check_table(in_force(root).as_ref(), &original).context(FLAG)?;
    let more = u32::try_from((modes.len() - 1) * groups.len())?;
    let plan = Plan {
        original: &original,
        modes: &modes,
        longer: baseline * 2 * more,
        are_clocks_held: device
            .facts
            .get("jetson_clocks")
            .is_some_and(|state| state == "held"),
    };
    writeln!(io::stderr(), "{plan}")?;
    if !args.yes {
        ensure!(
            io::stdin().is_terminal() && io::stderr().is_terminal(),
            "{FLAG}: there is no terminal to ask on whether the power mode may be switched; add --yes if it may"
        );
        agree(io::stdin().lock(), io::stderr())?;
    }
    let switch = Switch::start(Path::new("/proc/self/exe"), nvpmodel, original);
    let switch = Arc::new(switch.context("cannot start the power mode's keeper")?);
    let in_mode = |mode: &PowerMode| {
        let target = Target {
            mode: mode.clone(),
            switch: switch.clone(),
        };
        groups.clone().into_iter().map(move |group| Group {
            power_mode: Some(target.clone()),
            ..group
        })
    };
    Ok(modes.iter().flat_map(in_mode).collect())
}

fn check_root(is_root: bool) -> anyhow::Result<()> {
    ensure!(
        is_root,
        "only root may switch the power mode: sudo tokwatt-agent bench {FLAG} …"
    );
    Ok(())
}

/// The table is the host root's, and that may be a recording of another machine, whose numbers mean other modes.
fn check_table(by_host_root: Option<&PowerMode>, original: &PowerMode) -> anyhow::Result<()> {
    let said = by_host_root.map_or_else(|| "no mode".to_owned(), PowerMode::to_string);
    ensure!(
        by_host_root == Some(original),
        "by nvpmodel {original} is in force, by the files of the host root {said}: they are of two machines, or somebody \
         just switched it; nothing was done"
    );
    Ok(())
}

/// Asks until the answer is one; no answer is a no.
fn agree(mut answers: impl BufRead, mut questions: impl Write) -> anyhow::Result<()> {
    write!(questions, "Go on? [y/N] ")?;
    questions.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("{FLAG}: the power mode may not be switched; nothing was done"),
    }
}

impl std::fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = self.longer.as_secs().div_ceil(60);
        write!(
            f,
            "this switches the power mode of this machine, currently {}; it is put back at the end.\n\
             Everything is run in {}: {} times as many runs as without, and {minutes} min more of idle baselines.",
            self.original,
            list(self.modes),
            self.modes.len()
        )?;
        if self.are_clocks_held {
            write!(
                f,
                "\njetson_clocks holds the clocks now. A switch lets go of them, and the end does not hold them again: \
                 run `sudo jetson_clocks` then."
            )?;
        }
        Ok(())
    }
}

const FLAG: &str = "--power-modes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_root_is_told_how_to_be() {
        let error = check_root(false).unwrap_err().to_string();
        assert!(error.contains("sudo tokwatt-agent bench"), "{error}");
        assert!(check_root(true).is_ok());
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, want) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("n\n", false),
            ("", false),
            ("yonder\n", false),
        ] {
            let mut asked = Vec::new();
            assert_eq!(
                agree(answer.as_bytes(), &mut asked).is_ok(),
                want,
                "{answer}"
            );
            assert_eq!(asked, b"Go on? [y/N] ");
        }
    }

    #[test]
    fn the_question_says_what_is_in_force_and_how_much_longer_it_takes() {
        let mode = |mode: &str, id| PowerMode {
            mode: mode.to_owned(),
            id,
        };
        let plan = Plan {
            original: &mode("MODE_30W", 2),
            modes: &[mode("MAXN", 0), mode("MODE_30W", 2)],
            longer: Duration::from_secs(130),
            are_clocks_held: true,
        };
        let text = plan.to_string();
        for words in [
            "currently MODE_30W (2)",
            "put back at the end",
            "MAXN (0), MODE_30W (2)",
            "2 times as many",
            "3 min more",
            "sudo jetson_clocks",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
