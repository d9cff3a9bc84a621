//! Entry point.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "embedded")]
    if std::env::args().nth(1).as_deref() == Some("engine-worker") {
        return match tokwatt_agent::backend::embedded::worker::serve_inherited() {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(_) => std::process::ExitCode::FAILURE,
        };
    }
    std::process::ExitCode::from(2)
}
