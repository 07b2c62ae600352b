//! Answers what became of a task.
