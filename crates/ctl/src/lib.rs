//! The control tool: patronictl's commands, formats and exit codes.
