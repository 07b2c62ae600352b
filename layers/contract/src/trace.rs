//! Where a piece of work stands in a trace (W3C Trace Context), and spans that carry it.
//!
//! The ids are made here, where the span is: so whoever sends something on knows what to write into `traceparent`, and
//! nobody below the program needs OpenTelemetry. A span is an ordinary one of `tracing`, of the target [`SPANS`], with
//! its ids as fields; what else it is called and of which kind stands in the fields `otel.name` and `otel.kind`, as
//! tracing-opentelemetry has them. The program's subscriber sends it to a collector.
//!
//! **A span exists only if its trace is sampled.** What is not costs a look at one bit.

use http::{HeaderMap, HeaderName, Request};
use std::{
    cell::Cell,
    fmt::{self, Write},
    hash::{BuildHasher, Hasher},
    num::{NonZeroU64, NonZeroU128},
    sync::Arc,
};

/// The target of all spans that belong to a trace.
pub const SPANS: &str = "gateway_spans";

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of a `traceparent` of version 00.
const PARENT: usize = 55;
/// What the specification asks to be passed on at least; a longer `tracestate` is dropped, as it allows.
const LONGEST_STATE: usize = 512;
const MOST_MEMBERS: usize = 32;
const SAMPLED: u8 = 1;

/// A place in a trace: what `traceparent` and `tracestate` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace: NonZeroU128,
    span: NonZeroU64,
    sampled: bool,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// The beginning of a trace. The span's id is that of the span that is to be begun.
    pub fn root(sampled: bool) -> Self {
        Self { trace: trace_id(), span: span_id(), sampled, state: None }
    }

    /// Of a `traceparent` and a `tracestate`; `None` if the first is not exactly as the specification has it: a caller
    /// is a stranger. Of a later version what version 00 knows is taken. A `tracestate` that is malformed, or longer than
    /// 512 bytes, is dropped.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let (head, rest) = bytes.split_at_checked(PARENT)?;
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        let version = hex(&head[..2])?;
        let whole = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|next| *next == b'-') };
        if !dashes || version == 0xff || !whole {
            return None;
        }
        let trace = NonZeroU128::new(hex(&head[3..35])?)?;
        let span = NonZeroU64::new(u64::try_from(hex(&head[36..52])?).ok()?)?;
        let sampled = u8::try_from(hex(&head[53..55])?).ok()? & SAMPLED != 0;
        Some(Self { trace, span, sampled, state: tracestate.and_then(state) })
    }

    /// Of a request's headers, which a stranger wrote.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        // Several lines are one list.
        let states: Option<Vec<_>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
        let states = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
        Self::read(parent, states.as_deref())
    }

    /// Of the text that [`TraceContext`] is displayed as: what a store keeps.
    pub fn of_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some((parent, state)) => Self::read(parent, Some(state)),
            None => Self::read(text, None),
        }
    }

    /// As the header `traceparent` says it.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }

    /// As the header `tracestate` says it, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Both headers, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let state = self.state.as_deref().map(|state| ("tracestate", state.to_owned()));
        [("traceparent", self.traceparent())].into_iter().chain(state)
    }

    /// Is it recorded?
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id.
    pub fn trace_id(&self) -> u128 {
        self.trace.get()
    }

    /// The id of the span that is meant.
    pub fn span_id(&self) -> u64 {
        self.span.get()
    }

    /// The trace's id as logs show it.
    pub fn shown(&self) -> impl fmt::Display + use<> {
        Shown(self.trace.get())
    }

    /// A place for a span of its own below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: span_id(), ..self.clone() }
    }

    /// The same, recorded or not.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }
}

/// `traceparent`, and after a space `tracestate`, if there is one.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())?;
        match &self.state {
            Some(state) => write!(f, " {state}"),
            None => Ok(()),
        }
    }
}

struct Shown(u128);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The context that the layer `trace` left on this request.
pub fn trace_context<B>(request: &Request<B>) -> Option<&TraceContext> {
    request.extensions().get()
}

/// Lower-case hexadecimal digits alone.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// A list of `key=value`, without what is empty; `None` if it is none, or too long.
fn state(text: &str) -> Option<Arc<str>> {
    let members: Vec<_> =
        text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()).collect();
    let mut keys = Vec::with_capacity(members.len());
    for member in &members {
        let (key, value) = member.split_once('=')?;
        let of_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
        let of_value = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'=';
        let fits = (1..=256).contains(&key.len()) && (1..=256).contains(&value.len());
        if !fits || !key.bytes().all(of_key) || !value.bytes().all(of_value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    let text = members.join(",");
    let fits = !members.is_empty() && members.len() <= MOST_MEMBERS && text.len() <= LONGEST_STATE;
    fits.then(|| text.into())
}

fn trace_id() -> NonZeroU128 {
    loop {
        if let Some(id) = NonZeroU128::new(u128::from(random()) << 64 | u128::from(random())) {
            return id;
        }
    }
}

fn span_id() -> NonZeroU64 {
    loop {
        if let Some(id) = NonZeroU64::new(random()) {
            return id;
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), a sequence a thread from a seed of the system's. Ids are names, not secrets.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(std::collections::hash_map::RandomState::new().build_hasher().finish());
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Which traces are recorded: what `OTEL_TRACES_SAMPLER` may say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Is a caller's decision followed?
    follows: bool,
    /// Of the traces that nobody has decided about, this share; `None`: none is begun.
    share: Option<f64>,
}

impl Default for Sampler {
    /// [`Sampler::bystander`].
    fn default() -> Self {
        Self::bystander()
    }
}

impl Sampler {
    /// Passes on what callers bring, and begins no trace itself.
    pub fn bystander() -> Self {
        Self { follows: true, share: None }
    }

    /// This share of all traces, 0 to 1, decided by their ids alone.
    pub fn share(share: f64) -> Self {
        Self { follows: false, share: Some(share.clamp(0.0, 1.0)) }
    }

    /// The same, but a caller's own decision is followed.
    #[must_use]
    pub fn parent_based(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Does it begin traces?
    pub fn begins(&self) -> bool {
        self.share.is_some()
    }

    /// The caller's place with our decision, or a new trace; `None`: there is nothing to pass on.
    pub fn decide(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        match (caller, self.share) {
            (Some(caller), _) if self.follows => Some(caller),
            (Some(caller), Some(share)) => {
                let sampled = is_among(&caller, share);
                Some(caller.sampled(sampled))
            }
            (caller, None) => caller,
            (None, Some(share)) => {
                let root = TraceContext::root(true);
                let sampled = is_among(&root, share);
                Some(root.sampled(sampled))
            }
        }
    }
}

/// By the last 63 bits of the trace's id, as every SDK does: all processes decide alike.
fn is_among(context: &TraceContext, share: f64) -> bool {
    let bound = (share * (1_u64 << 63) as f64) as u64;
    share >= 1.0 || (context.trace_id() as u64) >> 1 < bound
}

/// A span that is open, and its place; ends when it is dropped. Without a trace, or in one that is not recorded, it is
/// nothing but the place that was given.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<TraceContext>,
    span: Option<tracing::Span>,
}

impl Span {
    /// For the macro [`span!`](crate::span): begun by `begin`, which is told the new place and its parent.
    #[doc(hidden)]
    pub fn begin(
        parent: Option<&TraceContext>,
        begin: impl FnOnce(&TraceContext, &TraceContext) -> tracing::Span,
    ) -> Self {
        let Some(parent) = parent else { return Self::default() };
        if !parent.sampled {
            return Self { context: Some(parent.clone()), span: None };
        }
        let context = parent.child();
        let span = begin(&context, parent);
        // Nobody records it: whoever comes next belongs to our own parent.
        if span.is_disabled() {
            return Self { context: Some(parent.clone()), span: None };
        }
        Self { context: Some(context), span: Some(span) }
    }

    /// For what is below it, or what is sent on.
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Is it recorded?
    pub fn is_open(&self) -> bool {
        self.span.is_some()
    }

    /// Adds what became known later; the field must have been named at its beginning, as `tracing::field::Empty`.
    pub fn record(&self, field: &'static str, value: impl tracing::Value) {
        if let Some(span) = &self.span {
            span.record(field, value);
        }
    }

    /// What it was for did not work. The field `otel.status_description` is written with it, cut to 256 characters.
    pub fn fail(&self, why: &dyn fmt::Display) {
        if let Some(span) = &self.span {
            let mut text = String::new();
            // Writing to a string never fails.
            let _ = write!(text, "{why}");
            let end = text.char_indices().nth(256).map_or(text.len(), |(at, _)| at);
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", &text[..end]);
        }
    }
}

/// Opens a [`Span`] below a place (`Option<&TraceContext>`): `span!(parent, "auth", "internal")`, then further fields as
/// `tracing` has them. The kinds are OpenTelemetry's: internal, server, client, producer, consumer.
///
/// ```
/// use gateway_contract::{TraceContext, span};
///
/// let caller = TraceContext::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None);
/// let span = span!(caller.as_ref(), "look", "internal", answer = tracing::field::Empty);
/// span.record("answer", 42);
/// ```
#[macro_export]
macro_rules! span {
    ($parent:expr, $name:literal, $kind:literal $(, $($fields:tt)*)?) => {
        $crate::Span::begin($parent, |own, parent| {
            $crate::tracing::info_span!(
                target: $crate::SPANS,
                parent: None,
                $name,
                trace.id = own.trace_id(),
                span.id = own.span_id(),
                parent.id = parent.span_id(),
                trace.state = own.tracestate(),
                otel.kind = $kind,
                otel.status_code = $crate::tracing::field::Empty,
                otel.status_description = $crate::tracing::field::Empty,
                $($($fields)*)?
            )
        })
    };
}

#[cfg(test)]
mod tests;
