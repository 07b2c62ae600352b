//! What lies in the directory, by name and by age.

use gateway_files::Name;
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

/// When a file was put there; the number parts those of one moment.
type Age = (SystemTime, u64);

/// The files of a directory.
#[derive(Debug, Default)]
pub(super) struct Index {
    read: bool,
    files: HashMap<Name, (u64, Age)>,
    by_age: BTreeMap<Age, Name>,
    total: u64,
    next: u64,
}

impl Index {
    /// An empty one that is as its directory is.
    pub(super) fn read() -> Self {
        Self { read: true, ..Self::default() }
    }

    /// Was the directory ever read into it?
    pub(super) fn is_read(&self) -> bool {
        self.read
    }

    /// How many bytes all of its files have.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file of `size` bytes, in place of one of the same name.
    pub(super) fn insert(&mut self, name: Name, size: u64, modified: SystemTime) {
        self.remove(&name);
        let age = (modified, self.next);
        self.next += 1;
        self.total += size;
        self.by_age.insert(age, name.clone());
        self.files.insert(name, (size, age));
    }

    /// Takes out the oldest.
    pub(super) fn pop_oldest(&mut self) -> Option<Name> {
        let name = self.by_age.first_key_value()?.1.clone();
        self.remove(&name);
        Some(name)
    }

    fn remove(&mut self, name: &Name) {
        if let Some((size, age)) = self.files.remove(name) {
            self.by_age.remove(&age);
            self.total -= size;
        }
    }
}
