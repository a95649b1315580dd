# The five commands that people need. `just` without a name lists them.

set positional-arguments

[private]
default:
    @just --list --unsorted

# Run a prompt with a development build, such as: just run -a shell 'echo hello'
run *args:
    cargo run -- run "$@"

# The first lane: needs git and setpriv besides the build, downloads nothing but crates
test *args:
    cargo test "$@"

# Formatting and lints, as CI has them
lint:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets --features real-agents -- -D warnings

# Both lanes: also real agent CLIs, the template with the SDKs of E2B, PostgreSQL, cut networks
real-agents *args:
    cargo test --features real-agents "$@"

# All that a change has to pass; installs what is missing
ci:
    .ci/run
