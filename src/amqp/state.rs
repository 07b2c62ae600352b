//! How the client is doing, as told to whoever watches.

use gateway_celery::event;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Under this name the board tells that there are no events.
pub(crate) const EVENTS_FAULT: &str = event::EXCHANGE;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not connected; tried again for ever. `None` until the first try has failed.
    Down(Option<String>),
    /// In use.
    Up,
    /// Connected, but the broker takes nothing from us for the reason given (memory or disk alarm).
    Blocked(String),
}

impl Link {
    /// Is it in use?
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }

    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<&str> {
        match self {
            Self::Up => None,
            Self::Down(None) => Some("not connected yet"),
            Self::Down(Some(why)) | Self::Blocked(why) => Some(why),
        }
    }
}

/// The state of a [`Client`](crate::Client). No text in it holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Sends tasks.
    pub publish: Link,
    /// Receives results and events.
    pub consume: Link,
    /// Sends commands, asks about queues.
    pub control: Link,
    /// Queues that are not as configured, by name, with what differs and what to do. Tasks are sent all the same.
    pub faults: BTreeMap<String, String>,
}

impl State {
    /// Would it hear a worker that comes online?
    pub fn hears_workers(&self) -> bool {
        self.consume.is_up() && !self.faults.contains_key(EVENTS_FAULT)
    }
}

impl Default for State {
    fn default() -> Self {
        let down = Link::Down(None);
        Self { publish: down.clone(), consume: down.clone(), control: down, faults: BTreeMap::new() }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publish,
    Consume,
    Control,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Control => "control",
        }
    }
}

/// The writers' end of the state. Watchers wake only when something changed.
#[derive(Debug, Clone)]
pub(crate) struct Board(watch::Sender<State>);

impl Board {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    pub(crate) fn link(&self, role: Role, link: Link) {
        self.0.send_if_modified(|state| {
            let old = match role {
                Role::Publish => &mut state.publish,
                Role::Consume => &mut state.consume,
                Role::Control => &mut state.control,
            };
            let changed = *old != link;
            *old = link;
            changed
        });
    }

    /// Sets or clears what is wrong with a queue.
    pub(crate) fn queue(&self, name: &str, fault: Option<String>) {
        self.0.send_if_modified(|state| match fault {
            None => state.faults.remove(name).is_some(),
            Some(text) => state.faults.insert(name.to_owned(), text.clone()).as_ref() != Some(&text),
        });
    }

    /// May publications be taken? `Err` says why not.
    pub(crate) fn publishing(&self) -> Result<(), String> {
        self.0.borrow().publish.fault().map_or(Ok(()), |why| Err(why.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_wake_only_for_changes() {
        let board = Board::new();
        let mut watch = board.watch();
        board.link(Role::Publish, Link::Down(None));
        board.queue("q", None);
        assert!(!watch.has_changed().expect("the board lives"));
        board.link(Role::Publish, Link::Up);
        board.queue("q", Some("differs".to_owned()));
        assert!(watch.has_changed().expect("the board lives"));
        assert_eq!(watch.borrow_and_update().faults["q"], "differs");
        board.queue("q", Some("differs".to_owned()));
        assert!(!watch.has_changed().expect("the board lives"));
        assert_eq!((board.publishing(), watch.borrow().consume.fault()), (Ok(()), Some("not connected yet")));
    }
}
