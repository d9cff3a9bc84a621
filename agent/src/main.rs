//! Entry point.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|command| command != "guard") {
        return ExitCode::from(2);
    }
    let mut command = arguments.skip_while(|argument| argument == "--");
    let Some(program) = command.next() else {
        return ExitCode::from(2);
    };
    match tokwatt_agent::guard::run(&program, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the command line's words for people")]
            {
                eprintln!("{error}");
            }
            ExitCode::from(2)
        }
    }
}
