//! The other end: runs a program for each task.
