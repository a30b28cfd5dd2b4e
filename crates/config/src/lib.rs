//! Configuration: YAML as PyYAML reads it, options, layers, environment, PostgreSQL parameters. Pure.
