//! A fault at each point of a task's life, with each store. The table of `main.rs` says which test is which point.

/// Runs each of these functions with both stores, in an arena of its own each.
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                super::$test(crate::arena::Kind::Sqlite);
            })*
        }
        mod postgres {
            $(#[test]
            fn $test() {
                super::$test(crate::arena::Kind::Postgres);
            })*
        }
    };
}

mod accepting;
mod hearing;
mod owning;
mod publishing;
mod time;
mod waiting;
