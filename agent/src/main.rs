//! Entry point.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "embedded")]
    if std::env::args().nth(1).as_deref() == Some("engine-worker") {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
        return match tokwatt_agent::backend::embedded::worker::serve_inherited() {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(_) => std::process::ExitCode::FAILURE,
        };
    }
    std::process::ExitCode::from(2)
}
