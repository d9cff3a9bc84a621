# The door to everything that can be done here: `just`.

# Where `cross` finds its image.
export CROSS_CONFIG := "cross/Cross.toml"

_default:
    @just --list --unsorted

# Measure a real model on this machine and rank it
demo *arguments:
    tests/demo {{ arguments }}

# Everything that has to hold before a change lands; CI runs exactly this
ci:
    tests/run

# Tests only, e.g. `just test -p tokwatt-domain energy`
test *filter:
    cargo test --release --locked {{ if filter == "" { "--workspace" } else { filter } }}

# The properties of parsers, meters and host trees for many more cases than `ci` runs, e.g. `just fuzz 200000`
fuzz cases="20000":
    PROPTEST_CASES={{ cases }} cargo test --release --locked --workspace --test power -- corpus damaged hostile
    PROPTEST_CASES={{ cases }} cargo test --release --locked --workspace --lib -- power:: decode:: metrics::energy

# kill -9 at ten points of a batch of 2,000 requests, resumed each time: every request once. `ci` has a smaller one
resume requests="2000" kills="10":
    TOKWATT_BATCH_REQUESTS={{ requests }} TOKWATT_BATCH_KILLS={{ kills }} cargo test --release --locked --workspace --test system -- resume::

# What `ci` has in small, at full size, with a new seed: power cuts, replays, a week offline, kills, a stalled disk under a thousand agents. Hours; every figure is shown
soak seed=`date +%s`:
    cargo test --release --locked --workspace --no-run
    TOKWATT_SEED={{ seed }} TOKWATT_CRASH_POINTS=24000 cargo test --release --locked --workspace --test crash -- --nocapture
    TOKWATT_SEED={{ seed }} TOKWATT_REPLAYS=1000000 TOKWATT_OFFLINE_HOURS=168 cargo test --release --locked --workspace --test system -- --nocapture replay:: offline::
    TOKWATT_SEED={{ seed }} TOKWATT_SEEDS=10000 cargo test --release --locked --workspace --test simulation -- --nocapture
    TOKWATT_FLEETS=200 cargo test --release --locked --workspace --test coverage -- --nocapture
    ulimit -n 16384 && TOKWATT_SEED={{ seed }} TOKWATT_STORM_KILLS=600 TOKWATT_STORM_AGENTS=1000 TOKWATT_STORM_STALL_S=60 cargo test --release --locked --workspace --test storm -- --nocapture

# Format, then lint with warnings denied
lint:
    cargo fmt --all
    cargo clippy --release --locked --workspace --all-targets -- -D warnings

# Rust bindings from proto/schema; no protoc needed
proto:
    cargo run --release --quiet -p tokwatt-codegen

# The agent as it is shipped: small, link-time optimised
dist:
    cargo build --profile dist --locked -p tokwatt-agent

# The agent without the embedded engine, for machines whose models run on a server
dist-without-engine:
    cargo build --profile dist --locked -p tokwatt-agent --no-default-features --target-dir target/without-engine

# The agent for Jetson and GB10, built in a container (needs docker or podman, and `cargo install --locked cross`)
cross *arguments:
    cross build --profile dist --locked --target aarch64-unknown-linux-gnu --target-dir target/cross-image -p tokwatt-agent {{ arguments }}

# The same without a container engine, linked by zig, e.g. `just cross-local --no-default-features`
cross-local *arguments:
    cross/local --profile dist {{ arguments }}
    cross/describe target/aarch64/aarch64-unknown-linux-gnu/dist/tokwatt-agent

# Debian packages with the services, in target/debian (needs `cargo install --locked cargo-deb`)
deb *architectures="amd64 arm64":
    cross/deb {{ architectures }}

# Build the package for a machine, install it there over ssh, and say what stands in the way of a good measurement
deploy host *package:
    cross/deploy {{ host }} {{ package }}

# The embedded engine beside upstream llama.cpp: ratios from one run. Needs llama-server; see agent/embedded/bench
bench-engine *arguments:
    cargo build --release --locked -p tokwatt-embedded --example speed
    python3 agent/embedded/bench/compare.py {{ arguments }}

# What reading power costs beside peers: CPU and memory at 10 and 100 Hz. See tests/bench/sampler.py
bench-sampler *arguments:
    cargo build --release --locked --workspace --bins --examples
    python3 tests/bench/sampler.py {{ arguments }}

# How truly clients time a server with an exact schedule: ours beside AIPerf, guidellm and vLLM's. See tests/bench/client.py
bench-client *arguments:
    cargo build --release --locked --workspace --bins --examples
    python3 tests/bench/client.py {{ arguments }}

# What a fleet costs the collector: CPU a message, memory an idle agent, runs acknowledged, beside bare tonic and bare SQLite. See tests/bench/fleet.rs
bench-fleet *arguments:
    cargo build --release --locked --workspace --bins --examples
    target/release/examples/fleet {{ arguments }}

# A board over a million synthetic runs, beside plain SQL over their reports, e.g. `just bench-rank --runs 100000`. 10 GB of disk. See tests/bench/rank.rs
bench-rank *arguments:
    cargo build --release --locked --workspace --bins --examples
    target/release/examples/rank {{ arguments }}

# One model through the embedded engine, llama.cpp's server, transformers and vLLM: one table. See tests/bench/servers.py
servers *arguments:
    cargo build --release --locked --workspace --bins
    python3 tests/bench/servers.py {{ arguments }}
