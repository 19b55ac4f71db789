//! Durations and sizes as people write them: `30s`, `256KiB`.
