pub mod op {}
